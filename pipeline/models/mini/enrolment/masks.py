"""Masks and shares of a picture: grown, shrunk, softened, resized, boxed. All sizes are px."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


def beside(mask: Mask) -> F32:
    """How far (H, W) each pixel is from the mask."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def depth(mask: Mask) -> F32:
    """How far (H, W) inside the mask each pixel lies; the picture's rim is no border."""
    framed = np.pad(mask, 1, mode="edge").astype(np.uint8)
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def grown(mask: Mask, radius: float) -> Mask:
    """The mask and what lies within ``radius`` of it."""
    return np.asarray(beside(mask) <= radius)


def shrunk(mask: Mask, radius: float) -> Mask:
    """What lies further than ``radius`` inside the mask."""
    return np.asarray(depth(mask) > radius)


def opened(mask: Mask, radius: float) -> Mask:
    """The mask without what is thinner than twice the radius."""
    return grown(shrunk(mask, radius), radius + 0.5) & mask


def largest(mask: Mask) -> Mask:
    """The mask's largest piece."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask.copy()
    return np.asarray(pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def pieces(mask: Mask) -> list[Mask]:
    """The mask's pieces, each by itself."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    return [np.asarray(numbers == number) for number in range(1, count)]


def soft(share: NDArray[np.generic], radius: float) -> F32:
    """A mask or a share, blurred."""
    return np.asarray(cv2.GaussianBlur(np.asarray(share, np.float32), (0, 0), radius), np.float32)


def smoothstep(value: NDArray[np.floating]) -> F32:
    """0 up to 0, 1 from 1 on, without a corner."""
    value = np.clip(value, 0, 1)
    return np.asarray(value * value * (3 - 2 * value), np.float32)


def reduced(picture: F32, size: tuple[int, int]) -> F32:
    """A picture (H, W[, C]) at a smaller ``size`` (wide, high)."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarged(picture: F32, size: tuple[int, int]) -> F32:
    """A picture (H, W[, C]) at a larger ``size`` (wide, high)."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.float32)


def box(mask: Mask, margin: int) -> Box:
    """Rows and columns that hold the mask, which isn't empty, and ``margin`` more."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    bottom = min(int(rows[-1]) + margin + 1, mask.shape[0])
    return slice(top, bottom), slice(left, min(int(columns[-1]) + margin + 1, mask.shape[1]))


def unit(picture: U8) -> F32:
    """Colours in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def byte(picture: NDArray[np.floating]) -> U8:
    """Colours, or alpha, of 0..1 as 0..255."""
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)
