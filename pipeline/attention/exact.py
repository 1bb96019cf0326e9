"""Softmax attention as torch computes it.

Shapes: B batch, H heads, N queries, M keys, D head dim.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q (B, H, N, D), k and v (B, H, M, D)


def attend(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None) -> Tensor:
    """Softmax attention of (B, H, N, D) over (B, H, M, D); ``valid`` bool (B, M) hides keys."""
    mask = None if valid is None else valid[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
