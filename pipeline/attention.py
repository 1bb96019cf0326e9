"""Attention, one function.

Shapes: B batch, H heads, N queries, M keys, D head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None) -> Tensor:
    """Softmax attention of (B, H, N, D) over (B, H, M, D); ``valid`` bool (B, M) hides keys."""
    mask = None if valid is None else valid[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def rotary_table(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, head_dim / 2) of rotary positions (Su et al. 2021), from float64."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device) / head_dim
    angles = positions.double()[:, None] * theta**-exponent
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Apply a rotary table to (B, H, N, D), halves paired."""
    cos, sin = table
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
