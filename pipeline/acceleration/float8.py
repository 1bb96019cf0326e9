"""8-bit floats: how tensors are scaled into e4m3, and what a tensor loses by it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

KIND: Final = torch.float8_e4m3fn
LARGEST: Final = 448.0  # of e4m3


def to_float8(x: Tensor, dims: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """``x`` as e4m3, and the float32 scale (kept dims) that brings it back; one scale for all
    values along ``dims``."""
    wide = x.float()
    scale = wide.abs().amax(dims, keepdim=True).clamp(min=1e-12) / LARGEST
    return (wide / scale).to(KIND), scale


def through_float8(x: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """``x`` after the way there and back: what a device without e4m3 can tell of its error."""
    small, scale = to_float8(x, dims)
    return (small.float() * scale).type_as(x)
