"""The inside of a mouth: collected from the person's own frames, and laid behind other lips.

It hangs on the head: a patch in canonical coordinates (see ``geometry``) on the plane of the teeth,
with the lines of the lips around it. Upper teeth stay at the upper lip, lower ones at the lower; of
what is between them as much is shown as the mouth is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing.geometry import Pose, gap, ordered_inner
from pipeline.dubbing.video_in import Shot

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FINE: Final = 160  # px of a patch for each eye
_WIDE, _TALL = 0.5, (-0.25, 0.6)  # eyes from the middle of the mouth
DEEP: Final = 0.03  # eyes that the plane of the teeth lies behind the lips
_LEAST, _ENOUGH = 0.05, 0.2  # eyes: openings below show no teeth, beyond say no more
_DARK: Final = 0.25  # of the light at the teeth, deep in a mouth
_SHADE: Final = 0.03  # eyes that the lips' shade reaches
_TURNED: Final = 0.5  # radians of yaw beyond which teeth are not collected


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What one frame showed between the lips, 0..1 in the video's own luma and chroma."""

    planes: tuple[F32, F32, F32]  # (h, w) each
    upper: F32  # (w,) rows of the upper lip's edge
    lower: F32
    left: float  # columns of the corners
    right: float
    light: float  # luma of the skin around it
    sharp: float  # see ``sharpness``
    score: float


def grid(middle_y: float) -> F64:
    """Canonical x and y (h, w, 2) of a patch's pixels; the mouth's middle is at x = 0."""
    x = np.arange(round(-_WIDE * FINE), round(_WIDE * FINE) + 1) / FINE
    y = middle_y + np.arange(round(_TALL[0] * FINE), round(_TALL[1] * FINE) + 1) / FINE
    return np.stack(np.meshgrid(x, y), -1)


def teeth_plane(canonical: NDArray[np.floating]) -> tuple[float, float]:
    """Canonical y of a closed mouth's line and z of the teeth."""
    inner = canonical[ordered_inner()]
    return float(inner[:, 1].mean()), float(inner[8:13, 2].mean()) + DEEP


def worth(canonical: F64, pose: Pose, sharp: float) -> float:
    """How good a frame is to collect from; 0 where it shows nothing of use."""
    opened = gap(canonical)
    if opened < _LEAST or abs(pose.yaw) > _TURNED:
        return 0.0
    return float(min(opened, _ENOUGH) * np.cos(pose.yaw) ** 2 * min(sharp, 1.0) ** 0.5)


def collect(
    shot: Shot, pose: Pose, canonical: F64, closed: F64, light: float, sharp: float
) -> Inside:
    """The inside of the mouth of a frame, whose mesh is ``canonical`` in its pose."""
    middle_y, z = teeth_plane(closed)
    places = grid(middle_y)
    flat = places.reshape(-1, 2)
    at = pose.place(np.column_stack([flat, np.full(len(flat), z)]))[:, :2]
    at = at.reshape(*places.shape[:2], 2).astype(np.float32)
    white = np.float32(2**shot.depth - 1)
    planes = []
    for k, plane in enumerate(shot.planes):
        step = (1, 1) if k == 0 else shot.step
        where = at / np.array(step, np.float32) - np.float32(0.5)
        low = np.maximum(np.floor(where.reshape(-1, 2).min(0)).astype(int) - 2, 0)
        high = np.ceil(where.reshape(-1, 2).max(0)).astype(int) + 3
        part = np.ascontiguousarray(plane[low[1] : high[1], low[0] : high[0]]).astype(np.float32)
        where = where - low.astype(np.float32)
        planes.append(
            cv2.remap(part, where[..., 0], where[..., 1], cv2.INTER_CUBIC,
                      borderMode=cv2.BORDER_REPLICATE) / white
        )  # fmt: skip
    upper, lower, left, right = edges(canonical, places)
    score = worth(canonical, pose, sharp)
    return Inside((planes[0], planes[1], planes[2]), upper, lower, left, right, light, sharp, score)


def edges(canonical: F64, places: F64) -> tuple[F32, F32, float, float]:
    """Rows of the lips' edges at each column of a patch, and the columns of the corners."""
    inner = canonical[ordered_inner()]
    lower, upper = inner[:11], np.concatenate([inner[10:], inner[:1]])[::-1]
    column = places[0, :, 0]
    rows = [
        (np.interp(column, np.maximum.accumulate(line[:, 0]), line[:, 1]) - places[0, 0, 1]) * FINE
        for line in (upper, lower)
    ]
    left, right = ((inner[k, 0] - column[0]) * FINE for k in (0, 10))
    return rows[0].astype(np.float32), rows[1].astype(np.float32), float(left), float(right)


def shown(inside: Inside, canonical: F64, places: F64, where: F32) -> tuple[list[F32], F32]:
    """The inside behind the lips of ``canonical``, at patch places (h, w, 2) of the frame's px, and
    how far the lips are apart there, in px of a patch."""
    upper, lower, left, right = edges(canonical, places)
    x, y = where[..., 0], where[..., 1]
    inner = inside.right - inside.left
    narrow = min(1.0, 0.96 * inner / max(right - left, 1.0))
    middle = np.float32((left + right) / 2)
    own = np.float32((inside.left + inside.right) / 2)
    column = (x - middle) * np.float32(narrow) + own
    last = np.float32(len(upper) - 1)
    top, bottom = _at(upper, np.clip(x, 0, last)), _at(lower, np.clip(x, 0, last))
    source = np.clip(column, 0, last)
    first, final = _at(inside.upper, source), _at(inside.lower, source)
    opened, seen = np.maximum(bottom - top, 0.5), np.maximum(final - first, 1.0)
    depth = np.clip(y - top, 0, opened)
    share = depth / opened
    less = np.minimum(seen - opened, 0)  # further open than was ever seen: dark in between
    near = np.minimum(depth, opened - depth) / np.maximum(seen / 2, 1.0)
    row = first + depth + (seen - opened) * share * share * (3 - 2 * share)
    row = np.where(less < 0, np.where(share < 0.5, first + np.minimum(depth, seen / 2),
                   final - np.minimum(opened - depth, seen / 2)), row)  # fmt: skip
    dark = 1 - (1 - _DARK) * np.clip((near - 0.8) / 0.6, 0, 1) * np.clip(-less / seen, 0, 1)
    planes: list[F32] = [_looked_up(plane, column, row) for plane in inside.planes]
    edge = np.clip(np.minimum(depth, opened - depth) / (_SHADE * FINE), 0, 1)
    dark = dark * (0.5 + 0.5 * edge)  # in the shade of the lips
    planes[0] = (0.06 + (planes[0] - 0.06) * dark).astype(np.float32)
    return planes, np.asarray(bottom - top, np.float32)


def _looked_up(plane: F32, column: NDArray[Any], row: NDArray[Any]) -> F32:
    x, y = column.astype(np.float32), row.astype(np.float32)
    return np.asarray(
        cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _at(line: F32, column: F32) -> F32:
    low = np.floor(column).astype(int)
    high = np.minimum(low + 1, len(line) - 1)
    share = column - low
    return np.asarray(line[low] * (1 - share) + line[high] * share, np.float32)


def sharpness(luma: F32, eyes: float) -> float:
    """How much of its contrast a face (h, w) has in its finest detail, at one size of face."""
    scale = min(1.0, 120 / max(eyes, 1.0))
    small = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    fine = small - cv2.GaussianBlur(small, (0, 0), 1.2)
    return float(np.sqrt(np.square(fine).mean() / max(float(small.var()), 1e-6))) * 5
