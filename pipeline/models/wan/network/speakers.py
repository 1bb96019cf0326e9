"""Two people in one picture (layout B): which tokens are whose, and how audio attention hears that.

As MultiTalk publishes it (label rotary positions, arXiv 2505.22647, section 3.3). Self-attention
from all tokens to those of the first latent says whom a token resembles: a person, whose place in
the picture is given, or the background. Person one's tokens are turned to positions 0 ... 4, person
two's to 20 ... 24, the background's to 12; the speech of the two stands at 2 and 22, so that each
hears mostly its own.

Letters: B batch, H heads, N tokens, S tokens of one latent, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import ModelMismatch
from pipeline.models.wan.network.layers import Table

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture

PERSONS: Final = 2
_SPANS: Final = ((0.0, 4.0), (20.0, 24.0))
_BACKGROUND: Final = 12.0
_BASE: Final = 10_000.0
_MARGIN: Final = 0.05  # of each half, that its person leaves free
HALVES: Final[tuple[Box, Box]] = (
    (_MARGIN / 2, _MARGIN, 0.5 - _MARGIN / 2, 1 - _MARGIN),
    (0.5 + _MARGIN / 2, _MARGIN, 1 - _MARGIN / 2, 1 - _MARGIN),
)


def regions(boxes: Sequence[Box], rows: int, columns: int) -> Tensor:
    """float32 (3, S): 1 on the tokens of person one, of person two, of the background. A token
    belongs to the box that its upper left corner lies in."""
    y = torch.arange(rows)[:, None] / rows
    x = torch.arange(columns)[None] / columns
    persons = torch.stack([
        ((x >= left) & (x < right) & (y >= top) & (y < bottom)).flatten()
        for left, top, right, bottom in boxes
    ])  # fmt: skip
    return torch.cat([persons, ~persons.any(0, keepdim=True)]).float()


def written(box: Box) -> str:
    """A box as it is given on the command line."""
    return ":".join(f"{side:g}" for side in box)


def areas(boxes: Sequence[Box], latent: Tensor, patch: Sequence[int]) -> Tensor | None:
    """``regions`` of the boxes in pictures whose latents are like ``latent`` (1, 16, 1, h, w), on
    its device; none without boxes. Raises ``ModelMismatch`` for a box that holds no token."""
    if not boxes:
        return None
    rows, columns = latent.shape[3] // patch[1], latent.shape[4] // patch[2]
    shown = regions(boxes, rows, columns)
    for box, person in zip(boxes, shown[:-1], strict=True):
        if not person.any():
            raise ModelMismatch(
                f"the box {written(box)} is too small: this picture has {columns} x {rows} places, "
                "and none begins in it"
            )
    return shown.to(latent.device)


def likeness(q: Tensor, k: Tensor, shown: Tensor) -> Tensor:
    """How much each token resembles each area: float32 (B, N, 3).

    ``q`` (B, H, N, D) and ``k`` (B, H, S, D) of the first latent, both rotated; ``shown`` (B, 3,
    S) from ``regions``. The mean over an area's tokens and all heads of what attention gives
    them; head by head, so that only (N, S) is held at once.
    """
    share = (shown / shown.sum(-1, keepdim=True).clamp(min=1)).transpose(1, 2)  # (B, S, 3)
    scale = q.shape[-1] ** -0.5
    total = q.new_zeros(q.shape[0], q.shape[2], 3, dtype=torch.float32)
    for head in range(q.shape[1]):
        alike = (q[:, head] * scale) @ k[:, head].transpose(1, 2)
        total += alike.float().softmax(-1) @ share
    return total / q.shape[1]


def places(alike: Tensor) -> Tensor:
    """The position at which each token listens, float32 (B, N), from ``likeness``."""
    low, high = alike.amin(1, keepdim=True), alike.amax(1, keepdim=True)
    part = (alike - low) / (high - low).clamp(min=1e-12)  # of its area's range over all tokens
    turned = [start + part[..., i] * (stop - start) for i, (start, stop) in enumerate(_SPANS)]
    choices = torch.stack([*turned, torch.full_like(turned[0], _BACKGROUND)], -1)
    return choices.gather(-1, alike.argmax(-1, keepdim=True))[..., 0]


def speech_places(tokens: int, device: torch.device) -> Tensor:
    """Positions (2 tokens,) of the speech of person one, then two."""
    middles = torch.tensor([(start + stop) / 2 for start, stop in _SPANS], device=device)
    return middles.repeat_interleave(tokens)


def rotary(at: Tensor, width: int) -> Table:
    """Cosines and sines (..., width / 2) for ``rotate_pairs`` at positions (...,)."""
    steps = torch.arange(0, width, 2, device=at.device, dtype=torch.float32) / width
    angles = at.float()[..., None] / _BASE**steps
    return angles.cos(), angles.sin()
