"""The colours of a foreground where a pixel is a mix of it and a background.

For each pixel a foreground and a background are sought that mix to what is seen and change as
little as alpha does from pixel to pixel, from a coarse level to the finest (after Germer and
others, "Fast multi-level foreground estimation", 2020).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED

F32 = NDArray[np.float32]

_SMOOTH: Final = 1e-3  # how strongly neighbours want the same colour
_EDGE: Final = 1.0  # the same, where alpha changes
_COARSE_SWEEPS: Final = 8
_FINE_SWEEPS: Final = 2


def pure_colours(picture: F32, alpha: F32) -> F32:
    """The foreground (H, W, 3) of a picture in 0..1 with its alpha (H, W)."""
    high, wide = alpha.shape
    front, back = np.zeros((1, 1, 3), np.float32), np.zeros((1, 1, 3), np.float32)
    front[:], back[:] = picture.mean((0, 1)), picture.mean((0, 1))
    levels = max(int(np.ceil(np.log2(max(high, wide)))), 1)
    for level in range(levels + 1):
        h = max(1, round(high ** (level / levels)))
        w = max(1, round(wide ** (level / levels)))
        rows, columns = (np.arange(h) + 0.5) * high / h, (np.arange(w) + 0.5) * wide / w
        rows, columns = rows.astype(np.int64), columns.astype(np.int64)
        small, a = picture[rows][:, columns], alpha[rows][:, columns]
        front, back = _nearest(front, h, w), _nearest(back, h, w)
        for _ in range(_COARSE_SWEEPS if max(h, w) <= 64 else _FINE_SWEEPS):
            front, back = _sweep(small, a, front, back)
    return front


def _nearest(picture: F32, high: int, wide: int) -> F32:
    rows = np.arange(high) * picture.shape[0] // high
    columns = np.arange(wide) * picture.shape[1] // wide
    return np.ascontiguousarray(picture[rows][:, columns])


@njit(**COMPILED)
def _sweep(picture, alpha, front, back):  # type: ignore[no-untyped-def]
    high, wide = alpha.shape
    new_front, new_back = np.empty_like(front), np.empty_like(back)
    for y in range(high):
        for x in range(wide):
            a = alpha[y, x]
            a00, a01, a11 = a * a, a * (1 - a), (1 - a) * (1 - a)
            f, b = np.zeros(3), np.zeros(3)
            for c in range(3):
                f[c], b[c] = a * picture[y, x, c], (1 - a) * picture[y, x, c]
            for k in range(4):
                j = min(max(y + (k == 0) - (k == 1), 0), high - 1)
                i = min(max(x + (k == 2) - (k == 3), 0), wide - 1)
                weight = _SMOOTH + _EDGE * abs(a - alpha[j, i])
                a00 += weight
                a11 += weight
                for c in range(3):
                    f[c] += weight * front[j, i, c]
                    b[c] += weight * back[j, i, c]
            det = a00 * a11 - a01 * a01
            for c in range(3):
                new_front[y, x, c] = min(max((a11 * f[c] - a01 * b[c]) / det, 0.0), 1.0)
                new_back[y, x, c] = min(max((a00 * b[c] - a01 * f[c]) / det, 0.0), 1.0)
    return new_front, new_back
