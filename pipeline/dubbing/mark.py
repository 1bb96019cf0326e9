"""The visible mark in frames of luma and chroma."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing.video_in import Shot
from pipeline.media.label import Label

_BLACK, _WHITE, _GREY = 16 / 255, 235 / 255, 128 / 255
_PROBE: Final = 200

F32 = NDArray[np.float32]


def stamp(shot: Shot, label: Label) -> None:
    """Burns the mark into a frame, as ``Label.stamp`` does into RGB; nothing else is written."""
    if label.declaration:
        return
    wide, high = shot.size
    left, top, right, bottom = label.box(wide, high)
    dark, light = (_stamped(label, wide, high, value) for value in (0, _PROBE))
    keep = np.asarray(
        (light - dark) / _PROBE, np.float32
    )  # (h, w): what stays of a pixel; ``dark`` is what is added
    white = float(2**shot.depth - 1)
    low, span = (0.0, 1.0) if shot.full else (_BLACK, _WHITE - _BLACK)
    for k, plane in enumerate(shot.planes):
        sx, sy = (1, 1) if k == 0 else shot.step
        x0, y0, x1, y1 = left // sx, top // sy, -(-right // sx), -(-bottom // sy)
        view = plane[y0:y1, x0:x1]
        rows, columns = (np.arange(y0 * sy, y1 * sy), np.arange(x0 * sx, x1 * sx))
        part = [_laid(np.asarray(values, np.float32), rows - top, columns - left, other)
                for values, other in ((keep, 1.0), (dark / 255, 0.0))]  # fmt: skip
        size = (view.shape[1], view.shape[0])
        kept, added = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in part)
        old = view.astype(np.float32) / white
        if k == 0:
            new = low + (old - low) * kept + span * added
        else:
            new = _GREY + (old - _GREY) * kept
        view[:] = np.clip(np.rint(new * white), 0, white).astype(view.dtype)


def _stamped(label: Label, wide: int, high: int, value: int) -> F32:
    key = (label.text, label.place, label.style, wide, high, value)
    if key not in _CACHE:
        if len(_CACHE) > 8:
            _CACHE.clear()
        left, top, right, bottom = label.box(wide, high)
        canvas = label.stamp(np.full((high, wide, 3), value, np.uint8))
        _CACHE[key] = canvas[top:bottom, left:right, 0].astype(np.float32)
    return _CACHE[key]


_CACHE: dict[tuple[object, ...], F32] = {}


def _laid(
    values: F32,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    other: float,
) -> F32:
    """Values at rows and columns, ``other`` beyond them."""
    out = np.full((len(rows), len(columns)), other, np.float32)
    y, x = np.flatnonzero((rows >= 0) & (rows < len(values))), np.flatnonzero(
        (columns >= 0) & (columns < values.shape[1])
    )  # fmt: skip
    out[np.ix_(y, x)] = values[np.ix_(rows[y], columns[x])]
    return out
