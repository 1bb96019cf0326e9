"""What ``--model`` names: a bundled model by name, or a published checkpoint by its path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import MODELS
from pipeline.errors import BackendRefused, ModelUnknown

if TYPE_CHECKING:
    from pipeline.engine import AvatarPipeline
    from pipeline.models.wan.cards import Card
    from pipeline.models.wan.pipeline import WanPipeline


def is_bundled(model: str) -> bool:
    """Whether ``model`` names a model that ships with the project."""
    return (MODELS / f"{model}.toml").is_file()


def load_pipeline(
    model: str,
    checkpoint: str | Card | None = None,
    device: str = "cpu",
    force: bool = False,
    speed: str = "plain",
) -> AvatarPipeline | WanPipeline:
    """The pipeline of a bundled model ("mini"), or of the checkpoint at a path.

    The rest is for checkpoints: which one it is, where its weights could be several; where it runs,
    in float32 on a CPU and bfloat16 elsewhere; ``force`` tries sizes that it was not trained for;
    ``speed`` is a profile of docs/acceleration.md.
    Raises a ``ModelError``.
    """
    if is_bundled(model):
        from pipeline.engine import AvatarPipeline

        return AvatarPipeline.load(model)
    path = Path(model).expanduser()
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in MODELS.glob("*.toml")))
        raise ModelUnknown(f"{model!r} is neither a bundled model ({known}) nor a path that exists")
    try:
        import torch

        from pipeline.models.wan.pipeline import Manner, WanPipeline

        if device != "cpu" and not torch.cuda.is_available():
            raise BackendRefused(f"device {device!r} was asked for, and torch sees no GPU here")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        return WanPipeline.load(
            path, checkpoint or None, device, dtype, Manner(force=force), speed=speed
        )
    except ModuleNotFoundError as missing:
        raise BackendRefused(
            f"published checkpoints need {missing.name}: pip install 'continuum-avatar[wan]'"
        ) from missing
