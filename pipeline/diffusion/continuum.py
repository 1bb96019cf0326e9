"""Neural Continuum Sync: chunks that share latents agree on them, at equal noise level.

After every denoising step the x0 fields of the chunks that cover a latent are interpolated with
weights that are smooth, sum to one, and fall to one chunk at the ends of the shared window. The
interpolation is written a + w (b - a), so that equal fields stay equal to the bit. In latent space
only: no decoded frame is ever blended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.diffusion.chunks import Chunk


def ramp(overlap: int, device: torch.device | None = None) -> Tensor:
    """Weights (overlap,) of the later chunk, a raised cosine strictly inside (0, 1)."""
    position = (torch.arange(overlap, dtype=torch.float32, device=device) + 0.5) / max(overlap, 1)
    return 0.5 - 0.5 * torch.cos(torch.pi * position)


def blend(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """a + weight (b - a); a ``weight`` (L,) or (L, W) runs over latents (and columns)."""
    if isinstance(weight, Tensor):
        weight = weight.to(a)[:, None, None] if weight.ndim == 1 else weight.to(a)[:, None]
    return a + weight * (b - a)


def harmonise(fields: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Interpolate the fields (K, C, L, H, W) of K consecutive chunks where they overlap."""
    out = fields.clone()
    for k in range(len(chunks) - 1):
        shared = chunks[k].stop - chunks[k + 1].start
        if shared <= 0:
            continue
        tail, head = fields[k, :, -shared:], fields[k + 1, :, :shared]
        weight = ramp(shared, fields.device)
        out[k, :, -shared:] = out[k + 1, :, :shared] = blend(tail, head, weight)
    return out


class OverlapTrace:
    """What a speculative chunk leaves for the one that takes its place: its x0 per noise level.

    ``strength[i]`` is how much it weighs at level i, times ``hold[w]`` for column w of the latents.
    A speculation weighs much at high noise (posture, a gesture in flight), nothing at the last
    level, and nothing at all on the lips, which belong to the speech that has arrived; the tail of
    a window whose speech was known weighs fully everywhere.
    """

    def __init__(self, strength: Sequence[float], hold: Sequence[float] | None = None) -> None:
        self._strength = tuple(strength)
        self._hold = None if hold is None else torch.tensor(hold)
        self._left: list[Tensor] = []
        self._start = 0

    def leave(self, start: int, fields: list[Tensor]) -> None:
        """Keep the fields (C, L, H, W), one per level, of latents from ``start``."""
        self._start, self._left = start, fields

    def clear(self) -> None:
        """Forget: what comes next owes nothing to the past."""
        self._left = []

    def pull(self, field: Tensor, start: int, level: int) -> Tensor:
        """``field`` (C, L, H, W) of latents from ``start``, drawn to what was left at ``level``.

        The pull falls off smoothly towards the end of the shared window.
        """
        if not self._left or not self._strength[level]:
            return field
        left = self._left[level]
        skip = start - self._start
        shared = min(left.shape[1] - skip, field.shape[1])
        if skip < 0 or shared <= 0:
            return field
        weight = self._strength[level] * (1.0 - ramp(shared))
        if self._hold is not None:
            weight = weight[:, None] * self._hold
        out = field.clone()
        out[:, :shared] = blend(field[:, :shared], left[:, skip : skip + shared], weight)
        return out
