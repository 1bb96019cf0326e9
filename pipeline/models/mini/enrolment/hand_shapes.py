"""Where a hand may be in a picture, by its 21 points."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FINGERS: Final = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16),
                   (0, 17, 18, 19, 20), (5, 9, 13, 17))  # fmt: skip
_PALM: Final = (0, 1, 5, 9, 13, 17)
_BONE: Final = 0.04  # of the hand's length: what is a hand for sure
_FLESH: Final = 0.10  # of it: half a finger's width with its border


def length(points: F32) -> float:
    """Px from the wrist along the middle finger, bent or foreshortened by no more than the palm."""
    steps = np.linalg.norm(np.diff(points[[0, 9, 10, 11, 12]], axis=0), axis=1)
    across = float(np.linalg.norm(points[5] - points[17]))
    return max(float(steps.sum()), 2.2 * across, 1.0)


def bones(points: F32, shape: tuple[int, ...]) -> Mask:
    """Pixels of the picture that are the hand's for sure."""
    return tubes(points, _FINGERS, _BONE * length(points), shape)


def flesh(points: F32, shape: tuple[int, ...]) -> Mask:
    """Pixels that may be the hand's."""
    canvas = tubes(points, _FINGERS, _FLESH * length(points), shape).astype(np.uint8)
    palm = np.round(points[list(_PALM), :2]).astype(np.int32)
    cv2.fillConvexPoly(canvas, cv2.convexHull(palm), 1)
    return canvas > 0


def around(points: F32, shape: tuple[int, ...]) -> Mask:
    """Pixels beside fingers, and between them; the wrist's side is left out."""
    out = tubes(points, _FINGERS, 0.2 * length(points), shape)
    return out & ~tubes(points, ((0, 0),), 0.4 * length(points), shape)


def surroundings(points: F32, shape: tuple[int, ...]) -> Mask:
    """Pixels within a good hand's length of the hand: forearm, waist, and gaps between them."""
    return tubes(points, _FINGERS, 1.1 * length(points), shape)


def tubes(points: F32, chains: tuple[tuple[int, ...], ...], radius: float,
          shape: tuple[int, ...]) -> Mask:  # fmt: skip
    """Everything within ``radius`` px of lines through points (N, 2)."""
    canvas = np.zeros(shape[:2], np.uint8)
    for chain in chains:
        line = np.round(points[list(chain), :2] * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, 1, max(1, round(2 * radius)), cv2.LINE_8, 4)
    return canvas > 0
