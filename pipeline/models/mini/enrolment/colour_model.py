"""How likely each pixel belongs to each of several regions by its colour, place by place.

Colours of the regions are counted in a coarse grid over place and colour, and blurred there: what
is white cloth at the shoulder may be white wall beside the hip.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_PLACES: Final = 12  # cells of the picture's longer side
_COLOURS: Final = (20, 14, 14)  # cells of L, a, b
_BLUR: Final = (1.0, 1.0, 0.9, 0.7, 0.7)  # cells
_DOUBT: Final = 0.02  # of a place's pixels: what has hardly been met decides little


def posterior(picture: U8, shares: F32, places: int = _PLACES) -> F32:
    """Shares (L, H, W) by colour, sum 1, of regions that hold ``shares`` of each pixel."""
    cell = _cells(picture, places)
    size = (*(int(c.max()) + 1 for c in cell[:2]), *_COLOURS)
    flat = np.ravel_multi_index(cell, size).ravel()
    total = int(np.prod(size))
    counts = []
    for share in shares:
        grid = np.bincount(flat, weights=share.ravel(), minlength=total).reshape(size)
        counts.append(ndimage.gaussian_filter(grid.astype(np.float32), _BLUR, mode="constant"))
    met = np.stack([grid.ravel()[flat].reshape(cell[0].shape) for grid in counts])
    doubt = _DOUBT * shares[0].size / (size[0] * size[1] * 40)
    return np.asarray((met + doubt / len(met)) / (met.sum(0) + doubt), np.float32)


def _cells(picture: U8, places: int) -> tuple[NDArray[np.int64], ...]:
    high, wide = picture.shape[:2]
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    step = (max(high, wide) + 1) / places
    rows, columns = np.indices((high, wide))
    light = np.clip(lab[..., 0] / 256 * _COLOURS[0], 0, _COLOURS[0] - 1)
    reds = np.clip((lab[..., 1] - 128) / 96 * _COLOURS[1] + _COLOURS[1] / 2, 0, _COLOURS[1] - 1)
    blues = np.clip((lab[..., 2] - 128) / 96 * _COLOURS[2] + _COLOURS[2] / 2, 0, _COLOURS[2] - 1)
    parts = (rows / step, columns / step, light, reds, blues)
    return tuple(part.astype(np.int64) for part in parts)
