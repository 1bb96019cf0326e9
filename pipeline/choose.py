"""What ``--model`` names: a bundled model by name, or a published checkpoint by its path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import MODELS
from pipeline.errors import ModelUnknown

if TYPE_CHECKING:
    from pipeline.engine import AvatarPipeline
    from pipeline.models.wan.pipeline import WanPipeline


def load_pipeline(model: str, **options: Any) -> AvatarPipeline | WanPipeline:
    """The pipeline of a bundled model ("mini"), or of the checkpoint at a path, which takes the
    ``options`` of ``WanPipeline.load`` (``name``, ``device``, ``dtype``, ``manner``, ``given``).

    Raises a ``ModelError``.
    """
    if (MODELS / f"{model}.toml").is_file():
        from pipeline.engine import AvatarPipeline

        return AvatarPipeline.load(model)
    path = Path(model).expanduser()
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in MODELS.glob("*.toml")))
        raise ModelUnknown(f"{model!r} is neither a bundled model ({known}) nor a path that exists")
    from pipeline.models.wan.pipeline import WanPipeline

    return WanPipeline.load(path, **options)
