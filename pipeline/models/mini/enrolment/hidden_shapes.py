"""Outlines that an arm hides: the trunk's side behind it, the sleeve beneath a forearm or a hand.

Where the trunk's side is seen against the background it is known; behind an arm it runs on between
the places where it is seen, never inside what is seen of it. A sleeve goes on along its bone as
wide as it is seen to be.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import hand_shapes, masks
from pipeline.models.mini.enrolment.arm_regions import ArmBones, along

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_UNDER: Final = 0.30  # of the girth: how far the trunk goes on under an arm beside it at least
_WIDTH: Final = 90.0  # percentile of what is seen of a sleeve that counts as its half width
_BINS: Final = np.linspace(0.3, 1.0, 8)  # of the way from shoulder to elbow
_FEW: Final = 15  # px
_SMOOTH: Final = 0.5  # of the girth: rows over which a hidden outline is made even
_SHOULDER: Final = (0.22, 0.42)  # of the upper arm: from here to there the trunk's cloth ends


def trunk_behind(trunk: Mask, arm: Mask, body: F32, girth: float) -> Mask:
    """Where (H, W) the trunk goes on behind the pixels of arms."""
    out = np.zeros(trunk.shape, bool)
    middle = _middle_line(trunk.shape, body)
    top = int(max(body[11:13, 1].min(), 0))
    for way in (-1, 1):
        edge, seen = _outline(trunk, arm, middle, top, way)
        out |= _within(edge, seen, middle, top, way, trunk.shape, girth)
    return out & arm


def _middle_line(shape: tuple[int, ...], body: F32) -> NDArray[np.int64]:
    """The trunk's middle column (H,) for each row."""
    neck, hip = body[11:13, :2].mean(0), body[23:25, :2].mean(0)
    slope = (hip[0] - neck[0]) / max(float(hip[1] - neck[1]), 1.0)
    columns = neck[0] + slope * (np.arange(shape[0]) - neck[1])
    return np.asarray(np.clip(columns, 0, shape[1] - 1), np.int64)


def _outline(
    trunk: Mask, arm: Mask, middle: NDArray[np.int64], top: int, way: int
) -> tuple[F32, Mask]:
    """Px from the middle line to the trunk's last pixel in each row, and whether that is its end.

    Arms that lie before the trunk are looked across; background ends it.
    """
    edge, seen = np.zeros(len(trunk), np.float32), np.zeros(len(trunk), bool)
    for y in range(top, len(trunk)):
        own = trunk[y, middle[y] :: way]
        over = arm[y, middle[y] :: way]
        free = np.flatnonzero(~(own | over))
        end = int(free[0]) if len(free) else len(own)
        last = np.flatnonzero(own[:end])
        if len(last):
            edge[y] = last[-1]
            seen[y] = bool(last[-1] + 1 >= end) or not over[last[-1] + 1 : end].any()
    return edge, seen


def _within(edge: F32, seen: Mask, middle: NDArray[np.int64], top: int, way: int,
            shape: tuple[int, ...], girth: float) -> Mask:  # fmt: skip
    rows = np.arange(shape[0])
    valid = edge > 0
    known = seen & valid
    hidden = edge + _UNDER * girth
    if known.any():
        between = np.interp(rows, rows[known], edge[known]).astype(np.float32)
        first, last = rows[known][0], rows[known][-1]
        inside = (rows >= first) & (rows <= last)
        hidden = np.where(
            inside, np.maximum(hidden, np.minimum(between, edge + 1.5 * girth)), hidden
        )
    width = np.where(seen, edge, hidden).astype(np.float32)
    sigma = max(_SMOOTH * girth, 1.0)
    even = cv2.GaussianBlur(width[:, None], (1, 1 + 2 * int(3 * sigma)), 0, sigmaY=sigma)[:, 0]
    width = np.where(valid, np.maximum(even, edge), 0)
    if valid.any():  # rows where arms hide all of it
        ends = np.flatnonzero(valid)[[0, -1]]
        across = np.interp(rows, rows[valid], width[valid])
        width = np.where(valid | (rows < ends[0]) | (rows > ends[1]), width, across)
    away = (np.arange(shape[1])[None] - middle[:, None]) * way
    return np.asarray((away >= 0) & (away <= width[:, None]) & (rows[:, None] >= top))


def shoulder_cloth(arm: ArmBones, shape: tuple[int, ...]) -> F32:
    """How far (H, W) the trunk's layer keeps the cloth of the shoulder under the upper arm."""
    part, _ = along(shape, arm.shoulder, arm.elbow)
    low, high = _SHOULDER
    return masks.smoothstep((high - part) / (high - low))


def elbow_round(arm: ArmBones, shape: tuple[int, ...]) -> F32:
    """How far (H, W) upper and lower arm both show the elbow; none where the forearm is short."""
    length = float(np.linalg.norm(arm.wrist - arm.elbow))
    open_ = np.clip((length / arm.girth - 1.6) / 0.8, 0, 1)
    rows, columns = np.indices(shape[:2], dtype=np.float32)
    away = np.hypot(columns - arm.elbow[0], rows - arm.elbow[1])
    free = ~hand_shapes.flesh(arm.hand, shape)
    out = open_ * masks.smoothstep(1.5 - away / (0.8 * arm.girth)) * free
    return masks.soft(out, 2.0) * free.astype(np.float32)


def sleeve_beneath(upper: Mask, lower: Mask, arm: ArmBones) -> Mask:
    """Where (H, W) the upper arm goes on beneath the lower, down to its round end at the elbow."""
    part, away = along(upper.shape, arm.shoulder, arm.elbow)
    beside = arm.beside_upper(upper.shape)
    out = lower & (part > 0.1)
    place = np.clip(part, 0, 1)
    for way in (-1, 1):
        half = _half_width(upper, lower, part, beside * way, arm.girth)
        out &= (beside * way < 0) | (away < np.interp(place, _BINS, half))
    return np.asarray(out)


def _half_width(upper: Mask, lower: Mask, part: F32, beside: F32, girth: float) -> F32:
    """Half the upper arm's width at ``_BINS`` along it, on the side where ``beside`` is above 0.

    It is measured where nothing lies before the arm's outline, and goes on from there.
    """
    wide = np.full(len(_BINS), np.nan)
    near = (beside > 0) & (beside < 1.8 * girth)
    for number, place in enumerate(_BINS):
        row = near & (np.abs(part - place) < 0.5 * (_BINS[1] - _BINS[0]))
        mine = row & upper
        if mine.sum() < _FEW:
            continue
        half = float(np.percentile(beside[mine], _WIDTH))
        before = row & lower & (beside < half + 0.6 * girth)
        if before.sum() < 0.1 * mine.sum():
            wide[number] = half
    known = ~np.isnan(wide)
    if not known.any():
        return np.full(len(_BINS), 0.8 * girth, np.float32)
    wide = np.interp(_BINS, _BINS[known], wide[known])
    return np.asarray(np.clip(wide, 0.4 * girth, 1.2 * girth), np.float32)


def beyond_sleeve(upper: Mask, arm: ArmBones) -> Mask:
    """What lies further along the upper arm than what is seen of it."""
    part, _ = along(upper.shape, arm.shoulder, arm.elbow)
    end = float(np.percentile(part[upper], 97)) if upper.any() else 1.0
    return np.asarray(part > np.clip(end, 0.5, 1.0))
