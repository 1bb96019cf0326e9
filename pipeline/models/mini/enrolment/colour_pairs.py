"""Which foreground and which background colour a mixed pixel is made of, by looking around it.

From every unknown pixel rays go out to the nearest known foreground and background; of all pairs
of what they meet, the one that explains the pixel's colour best, from near by, is taken (as in
robust matting, Wang and Cohen 2007).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_RAYS: Final = 12
_FURTHER: Final = 3  # px beyond the first known pixel: it may itself be mixed
_NOISE: Final = 0.03  # of colours in 0..1: differences below it say little


def best_pairs(picture: F32, front: Mask, back: Mask, reach: int) -> tuple[F32, F32]:
    """Alpha (H, W) by the best pair, and how sure (H, W) it is, 0..1; known pixels are sure."""
    turns = 2 * np.pi * np.arange(_RAYS) / _RAYS
    rays = np.stack([np.sin(turns), np.cos(turns)], 1).astype(np.float32)
    alpha, sure = front.astype(np.float32), (front | back).astype(np.float32)
    rows, columns = np.nonzero(~(front | back))
    _pairs(picture, front, back, rays, reach, rows, columns, alpha, sure)
    return alpha, sure


@njit(**COMPILED)
def _meet(known, y, x, dy, dx, reach, start):  # type: ignore[no-untyped-def]
    """Where a ray meets what is known: (row, column, steps); -1 steps where it does not."""
    high, wide = known.shape
    for step in range(1, reach):
        j, i = int(np.rint(y + dy * step)), int(np.rint(x + dx * step))
        if j < 0 or i < 0 or j >= high or i >= wide:
            break
        if known[j, i]:
            j2, i2 = int(np.rint(y + dy * (step + start))), int(np.rint(x + dx * (step + start)))
            if 0 <= j2 < high and 0 <= i2 < wide and known[j2, i2]:
                return j2, i2, step
            return j, i, step
    return 0, 0, -1


@njit(**COMPILED)
def _pairs(picture, front, back, rays, reach, rows, columns, alpha, sure):  # type: ignore[no-untyped-def]
    count = len(rays)
    for n in range(len(rows)):
        y, x = rows[n], columns[n]
        colour = picture[y, x]
        spot = np.zeros((2, count, 3), np.int64)
        found = np.zeros(2, np.int64)
        for k in range(count):
            for which in range(2):
                known = front if which == 0 else back
                j, i, far = _meet(known, y, x, rays[k, 0], rays[k, 1], reach, _FURTHER)
                if far > 0:
                    spot[which, found[which], 0], spot[which, found[which], 1] = j, i
                    spot[which, found[which], 2] = far
                    found[which] += 1
        if found[0] == 0 or found[1] == 0:
            alpha[y, x] = 1.0 if found[0] else 0.0
            sure[y, x] = 0.3 if found[0] + found[1] else 0.0
            continue
        near0, near1 = spot[0, : found[0], 2].min(), spot[1, : found[1], 2].min()
        best, best_alpha, best_sure = 1e9, 0.5, 0.0
        for p in range(found[0]):
            f = picture[spot[0, p, 0], spot[0, p, 1]]
            for q in range(found[1]):
                b = picture[spot[1, q, 0], spot[1, q, 1]]
                length = mix = 0.0
                for c in range(3):
                    length += (f[c] - b[c]) ** 2
                    mix += (colour[c] - b[c]) * (f[c] - b[c])
                a = min(max(mix / (length + 1e-6), 0.0), 1.0)
                error = 0.0
                for c in range(3):
                    error += (colour[c] - a * f[c] - (1 - a) * b[c]) ** 2
                away = spot[0, p, 2] / near0 + spot[1, q, 2] / near1 - 2
                cost = error + _NOISE**2 * 0.3 * away
                if cost < best:
                    best, best_alpha = cost, a
                    apart = length / (length + (3 * _NOISE) ** 2)
                    best_sure = apart * np.exp(-error / (2 * _NOISE**2))
        alpha[y, x], sure[y, x] = best_alpha, best_sure
