"""Light on a surface: how bright it gets as it turns, estimated from the picture itself.

Brightness is ``1 + direction . normal``, bounded: an overcast studio. It is relative, so only
ratios between two normals mean anything.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DARKEST: Final = 0.45
BRIGHTEST: Final = 1.5
_STRENGTH: Final = 0.55  # the longest direction that is believed
_DEFAULT: Final = (-0.1, 0.25, 0.25)  # a soft light from above and in front
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


def brightness(normals: NDArray[np.float32], direction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Relative brightness (N,) of unit normals (N, 3)."""
    return np.asarray(np.clip(1 + normals @ direction, DARKEST, BRIGHTEST), np.float32)


def estimate(
    colours: NDArray[np.float32], normals: NDArray[np.float32], surface: NDArray[np.integer]
) -> NDArray[np.float32]:
    """The direction (3,) that explains the colours (M, 3) of surfaces that are each of one paint.

    Least squares with a prior of a soft frontal light, so that patterns and few samples cannot
    invent drama.
    """
    luma = colours @ _LUMA
    rows, targets = [], []
    for number in np.unique(surface):
        mine = surface == number
        level = float(np.median(luma[mine]))
        if mine.sum() < 30 or level < 8:
            continue
        usual = np.abs(luma[mine] / level - 1) < 0.6
        centre = normals[mine][usual].mean(0)
        rows.append(normals[mine][usual] - centre)
        targets.append(luma[mine][usual] / level - (luma[mine][usual] / level).mean())
    prior = np.array(_DEFAULT)
    if not rows:
        return prior.astype(np.float32)
    a, b = np.concatenate(rows), np.concatenate(targets)
    weight = 0.02 * len(a)
    direction = np.linalg.solve(a.T @ a + weight * np.eye(3), a.T @ b + weight * prior)
    length = float(np.linalg.norm(direction))
    return (direction * min(1.0, _STRENGTH / max(length, 1e-6))).astype(np.float32)
