"""Loads an encoder of transformers from its folder, as strictly as all other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ModelMismatch
from pipeline.weights.files import open_weights

UNUSED = ("masked_spec_embed",)  # of training


def pretrained(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A model of the class ``kind``. Tensors of heads that it does not have are not read; what it
    lacks is refused. Raises ``ModelDamaged`` or ``ModelUnsafe`` before transformers reads a file,
    ``ModelMismatch``."""
    open_weights(folder)
    try:
        model, told = kind.from_pretrained(
            folder, local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelMismatch(f"{folder.name} is no {kind.__name__}: {str(error)[:300]}") from error
    missing = sorted(n for n in told["missing_keys"] if not n.endswith(UNUSED))
    if missing or told["mismatched_keys"]:
        raise ModelMismatch(
            f"{folder.name} is no whole {kind.__name__}: {len(missing)} missing: "
            f"{', '.join(missing[:8])}; mis-shaped: {sorted(told['mismatched_keys'])[:8]}"
        )
    return model
