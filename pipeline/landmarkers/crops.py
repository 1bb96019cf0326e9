"""Turned squares of a picture, which networks look at, and the way back from what they saw.

A picture is RGB (H, W, 3). Numbers along a crop run from 0 to 1 from edge to edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_FINE: Final = 1.5  # px of the picture per px of a crop from which on they are averaged first


@dataclass(frozen=True, slots=True)
class Square:
    """Middle and side in px of the picture, turned clockwise by ``angle`` (radians)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def axes(self) -> F64:
        """Unit vectors in the picture: to the crop's right, and down in it."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, sin], [-sin, cos]])

    def to_picture(self, places: NDArray[np.floating]) -> F32:
        """Places (..., 2) in the crop, 0..1, as px of the picture."""
        offset = (np.asarray(places, np.float64) - 0.5) * self.side
        return np.asarray(offset @ self.axes() + (self.x, self.y), np.float32)

    def moved(self, right: float, down: float, scale: float) -> Square:
        """The square shifted by parts of its side along its own axes, then made larger."""
        x, y = np.array([right, down]) * self.side @ self.axes() + (self.x, self.y)
        return Square(float(x), float(y), self.side * scale, self.angle)

    def cut(self, picture: U8, size: int, *, border: int = cv2.BORDER_CONSTANT) -> U8:
        """What the square shows, (size, size, 3); beyond the picture black, or its edge."""
        picture, corner, shrink = self._averaged(picture, size)
        ends = self.to_picture(_corners(size))  # middles of three of the crop's pixels
        inner = (ends - corner) * shrink - 0.5
        affine = cv2.getAffineTransform(_pixels(size), inner.astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(picture, affine, (size, size), flags=flags, borderMode=border)
        return np.asarray(seen, np.uint8)

    def _averaged(self, picture: U8, size: int) -> tuple[U8, F64, F64]:
        """The part that is seen, no finer than the crop; its corner, and px of it per px."""
        high, wide = picture.shape[:2]
        reach = 0.75 * self.side + 2  # more than half a diagonal
        left, right = (int(np.clip(self.x + s * reach, 0, wide)) for s in (-1, 1))
        top, bottom = (int(np.clip(self.y + s * reach, 0, high)) for s in (-1, 1))
        left, top = min(left, wide - 1), min(top, high - 1)
        part = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
        scale = self.side / size
        if scale < _FINE:
            return part, np.array([left, top], float), np.ones(2)
        less = [max(1, round(n / scale)) for n in part.shape[1::-1]]
        small = cv2.resize(part, less, interpolation=cv2.INTER_AREA)
        shrink = np.array(less) / part.shape[1::-1]
        return np.asarray(small, np.uint8), np.array([left, top], float), shrink

    def spread(self, values: F32, height: int, width: int) -> F32:
        """Numbers (S, S) of the crop laid into a picture of zeros (height, width)."""
        size = len(values)
        affine = cv2.getAffineTransform(
            _pixels(size), (self.to_picture(_corners(size)) - 0.5).astype(np.float32)
        )
        laid = cv2.warpAffine(values, affine, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(laid, np.float32)


def whole(picture: U8) -> Square:
    """The smallest upright square around a picture."""
    high, wide = picture.shape[:2]
    return Square(wide / 2, high / 2, float(max(high, wide)))


def around(points: NDArray[np.floating], angle: float) -> Square:
    """The smallest square of this angle around places (N, 2)."""
    axes = Square(0, 0, 1, angle).axes()
    along = np.asarray(points, np.float64) @ axes.T
    low, high = along.min(0), along.max(0)
    x, y = (low + high) / 2 @ axes
    return Square(float(x), float(y), max(float((high - low).max()), 1.0), angle)


def _pixels(size: int) -> F32:
    return np.array([[0, 0], [size - 1, 0], [0, size - 1]], np.float32)


def _corners(size: int) -> F64:
    return (_pixels(size) + 0.5).astype(np.float64) / size
