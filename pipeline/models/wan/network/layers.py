"""Norms, the time embedding, and rotary positions without an end.

Letters: B batch, H heads, N tokens, D width, T latents, S tokens of one latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Table = tuple[Tensor, Tensor]


class RmsNorm(nn.Module):
    """Root-mean-square norm over the last dimension, statistics in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        h = x.float()
        h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)
        return h.type_as(x) * self.weight


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32, returned in the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).type_as(x)


def time_sinusoid(t: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of t in [0, 1000]: (...) -> float32 (..., dim).

    Angles are taken in float64: in float32 the output moves by 1.5e-5.
    """
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float64, device=t.device) / half
    angles = t.double()[..., None] * 10_000.0**-exponent
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """How a head's channels split over time, height and width."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def rotary_grid(times: Tensor, height: int, width: int, head_dim: int, theta: float) -> Table:
    """Cosines and sines float64 (T S, head_dim / 2) of a grid of tokens, time slowest.

    ``times`` (T,) may be any integers: there is no table to run out of.
    """
    device = times.device
    places = (times, torch.arange(height, device=device), torch.arange(width, device=device))
    axes = []
    for axis, (place, dim) in enumerate(zip(places, axis_dims(head_dim), strict=True)):
        exponent = torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim
        angle = place.double()[:, None] * theta**-exponent  # (n, dim / 2)
        shape = [1, 1, 1, -1]
        shape[axis] = len(place)
        axes.append(angle.view(shape).expand(len(times), height, width, -1))
    angles = torch.cat(axes, dim=-1).flatten(0, 2)
    return angles.cos(), angles.sin()


def rotary_type(dtype: torch.dtype) -> torch.dtype:
    """The type in which tensors of ``dtype`` are rotated: one precision above their own."""
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def rotate_pairs(x: Tensor, table: Table) -> Tensor:
    """Rotate adjacent channel pairs of (B, H, N, D)."""
    wide = rotary_type(x.dtype)
    cos, sin = table[0].to(wide), table[1].to(wide)
    a, b = x.to(wide).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).type_as(x)


def modulate(x: Tensor, norm: nn.Module, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) (1 + scale) + shift, x (B, N, D), shift and scale float32 (B, T or 1, D)."""
    h = norm(x).float().unflatten(1, (scale.shape[1], -1))  # (B, T, S, D)
    return (h * (1 + scale[:, :, None]) + shift[:, :, None]).flatten(1, 2).type_as(x)  # type: ignore[no-any-return]


def gated(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """x + gate y, the sum in float32, gate (B, T or 1, D)."""
    step = y.float().unflatten(1, (gate.shape[1], -1)) * gate[:, :, None]
    return (x.float() + step.flatten(1, 2)).type_as(x)  # type: ignore[no-any-return]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, H, N, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]


def join_heads(x: Tensor) -> Tensor:
    """(B, H, N, D / H) -> (B, N, D)."""
    return x.transpose(1, 2).flatten(2)
