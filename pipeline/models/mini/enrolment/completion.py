"""Holes of a picture, filled so that it goes on: borders, structure and texture.

From a coarse picture to the finest, patches of what may be copied are laid over the hole until
they agree with each other and with the rim (``patch_search``). Each level starts from the matches
of the level below. Last the light of the rim is carried in, so that no seam is left. Where nothing
may be copied the fill is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import background, masks, patch_search
from pipeline.models.mini.enrolment.patch_search import RADIUS

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LEAST: Final = 40  # patches to copy from; with fewer the fill is smooth
_SMALLEST: Final = 40  # px of the shorter side that the coarsest level has at least
_SHALLOW: Final = 4.0  # px that the hole's innermost pixel is from its rim on the coarsest level
_PASSES: Final = (10, 3, 2, 1)  # searches and votes, from the coarsest level on
_ROUNDS: Final = (4, 2, 2, 1)
_DECAY: Final = (0.75, 0.88, 0.95, 0.97)  # of what is sure, for each px from the rim
_DEEP: Final = 56.0  # px from the rim: further inside, a fine level leaves what a coarser made
_FINE: Final = 2  # levels above the coarsest from which on that is so
_MOST_LIGHT: Final = 24.0  # levels that a patch may be off in tone
_ROUGH: Final = 160  # px of the longer side of a picture that is filled smoothly
_NARROW: Final = 48  # px around the hole that are looked at, beside what may be copied


@dataclass(frozen=True, slots=True)
class _Filled:
    """A level's picture (H, W, 3), and each pixel's match (H, W, 2), -1 where it has none."""

    picture: F32
    match: I32
    stage: int


def complete(picture: U8, hole: Mask, source: Mask) -> U8:
    """The picture (H, W, 3) with its ``hole`` filled by what ``source`` shows (both (H, W)).

    Only ``source`` is copied and only the hole is changed; what is neither is not looked at. Where
    ``source`` shows nothing outside of the hole, all around the hole may be copied.
    Raises ``ValueError`` when nothing of the picture is known.
    """
    if not hole.any():
        return picture.copy()
    if hole.all():
        raise ValueError("the hole is the whole picture: there is nothing to go on from")
    known = source & ~hole
    if not known.any():
        known = ~hole
    box = _box(hole, known)
    part, gone, known = picture[box].astype(np.float32), hole[box], known[box]
    start = _smooth(part, known)
    filled = _fill(start, ~known, known).picture
    out = picture.copy()
    out[box][gone] = np.clip(filled[gone] + 0.5, 0, 255).astype(np.uint8)
    return out


def _box(hole: Mask, known: Mask) -> tuple[slice, slice]:
    """What is around the hole, grown until enough is known in it."""
    margin = _NARROW
    while True:
        box = masks.box(hole, margin)
        if known[box].sum() > hole.sum() or margin > max(hole.shape):
            return box
        margin *= 2


def _fill(start: F32, hole: Mask, source: Mask) -> _Filled:
    deep = float(masks.depth(hole).max())
    if deep <= _SHALLOW or min(hole.shape) < 2 * _SMALLEST:
        none = np.full((*hole.shape, 2), -1, np.int32)
        return _refined(_Filled(start, none, 0), hole, source)
    less = ((hole.shape[1] + 1) // 2, (hole.shape[0] + 1) // 2)
    lower = _fill(*_reduced(start, source, less))
    wide = masks.enlarged(lower.picture, (hole.shape[1], hole.shape[0]))
    picture = np.where(hole[..., None], wide, start).astype(np.float32)
    return _refined(_Filled(picture, _doubled(lower.match, hole.shape), lower.stage), hole, source)


def _doubled(match: I32, shape: tuple[int, ...]) -> I32:
    """Matches of a level in one of twice its size."""
    rows, columns = np.indices(shape)
    low = match[rows // 2, columns // 2]
    odd = np.stack([rows % 2, columns % 2], 2)
    return np.where(low < 0, -1, 2 * low + odd).astype(np.int32)


def _reduced(picture: F32, source: Mask, size: tuple[int, int]) -> tuple[F32, Mask, Mask]:
    """Half the size; colours of what may be copied are not mixed with others."""
    weight = source.astype(np.float32)
    share = masks.reduced(weight, size)
    mixed = masks.reduced(picture * weight[..., None], size)
    plain = masks.reduced(picture, size)
    pure = mixed / np.maximum(share, 1e-6)[..., None]
    small = np.where((share > 0.05)[..., None], pure, plain).astype(np.float32)
    return small, share <= 0.25, share > 0.25


def _refined(before: _Filled, hole: Mask, source: Mask) -> _Filled:
    """Searches and votes on one level."""
    stage = min(before.stage, len(_PASSES) - 1)
    depth = masks.depth(hole)
    valid = _whole_patches(source)
    over = _patches_over(hole)
    if before.stage >= _FINE:
        over &= depth < _DEEP
    places = np.argwhere(over).astype(np.int32)
    sources = np.argwhere(valid).astype(np.int32)
    if len(sources) < _LEAST or not len(places):
        return _Filled(before.picture, before.match, before.stage + 1)
    at = np.full(hole.shape, -1, np.int32)
    at[places[:, 0], places[:, 1]] = np.arange(len(places))
    match = _start(before.match, places, sources, valid, stage)
    sure = (_DECAY[stage] ** depth).astype(np.float32)
    trust = sure[places[:, 0], places[:, 1]] + np.float32(1e-3)
    cost = np.zeros(len(places), np.float32)
    picture = said = before.picture
    for turn in range(_PASSES[stage]):
        patch_search.search(
            picture, sure, sources, valid, places, at, match, cost, _ROUNDS[stage],
            1 + turn + 16 * stage,
        )  # fmt: skip
        spread = np.float32(max(0.5 * float(np.median(cost)), 1.0))
        said, weight = patch_search.vote(picture, places, match, cost, trust, spread)
        picture = np.where((hole & (weight > 0))[..., None], said, picture).astype(np.float32)
    field = np.full((*hole.shape, 2), -1, np.int32)
    field[places[:, 0], places[:, 1]] = match
    light = _light(said, picture, hole, source)
    return _Filled(picture + light, field, before.stage + 1)


def _start(field: I32, places: I32, sources: I32, valid: Mask, stage: int) -> I32:
    """Matches to begin with: those of the level below where they hold, others at random."""
    random = np.random.default_rng(stage)
    match = sources[random.integers(0, len(sources), len(places))]
    lower = field[places[:, 0], places[:, 1]]
    inside: Mask = np.asarray((lower >= 0).all(1) & (lower < valid.shape).all(1))
    inside[inside] = valid[lower[inside, 0], lower[inside, 1]]
    match[inside] = lower[inside]
    return np.ascontiguousarray(match, np.int32)


def _light(said: F32, picture: F32, hole: Mask, source: Mask) -> F32:
    """What to add inside the hole so that it meets its rim, where patches were off in tone."""
    near = cv2.dilate(hole.astype(np.uint8), np.ones((2 * RADIUS - 1,) * 2, np.uint8)) > 0
    rim = near & ~hole & source & (said.max(2) > 0)
    if not rim.any():
        return np.zeros_like(picture)
    off = np.clip(picture - said, -_MOST_LIGHT, _MOST_LIGHT).astype(np.float32)
    return np.where(hole[..., None], _smooth(off, rim), 0).astype(np.float32)


def _smooth(picture: F32, known: Mask) -> F32:
    """The picture with all that is not known filled smoothly, by a small copy of it."""
    shrink = max(max(known.shape) // _ROUGH, 1)
    size = (-(-known.shape[1] // shrink), -(-known.shape[0] // shrink))
    weight = known.astype(np.float32)
    share = masks.reduced(weight, size)
    mixed = masks.reduced(picture * weight[..., None], size)
    pure = np.asarray(mixed / np.maximum(share, 1e-6)[..., None], np.float32)
    small = background.fill(pure, np.minimum(4 * share, 1))
    wide = masks.enlarged(small, (known.shape[1], known.shape[0]))
    return np.where(known[..., None], picture, wide).astype(np.float32)


def _whole_patches(source: Mask) -> Mask:
    """Centres of patches that lie in ``source`` and in the picture."""
    padded = np.pad(source, RADIUS).astype(np.uint8)
    kernel = np.ones((2 * RADIUS + 1,) * 2, np.uint8)
    inner = cv2.erode(padded, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(inner[RADIUS:-RADIUS, RADIUS:-RADIUS] > 0)


def _patches_over(hole: Mask) -> Mask:
    """Centres of patches in the picture that touch the hole."""
    touching = cv2.dilate(hole.astype(np.uint8), np.ones((2 * RADIUS + 1,) * 2, np.uint8)) > 0
    inner = np.zeros(hole.shape, bool)
    inner[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
    return np.asarray(touching & inner)
