"""Classifier-free guidance: how two branches become one field."""

from __future__ import annotations

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float) -> Tensor:
    """Guided field (Ho & Salimans 2022), pulled to the conditional spread by ``rescale`` in [0, 1]
    (Lin et al. 2023). Shapes (B, C, L, H, W); scale 1 needs no unconditional branch at all.
    """
    guided = unconditional + scale * (conditional - unconditional)
    if not rescale:
        return guided
    dims = tuple(range(1, guided.ndim))
    ratio = conditional.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (1 + rescale * (ratio - 1))
