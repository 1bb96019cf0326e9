"""A picture of a person taken apart: layers that, laid over each other, are the picture again.

From the back to the front: the plate (the picture without the person), the body (without the arms
that can move, cloth filled in behind them), and per such arm its upper arm and then its forearm
with the hand. What stands before the person is part of the plate or of the body. Alpha is straight;
colours go on beyond the edges, so that layers may be sampled between pixels. Places are px of the
picture, x to the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import Side

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """A piece of the picture: straight RGBA (h, w, 4), its corner at ``origin`` (x, y)."""

    pixels: U8
    origin: tuple[int, int]

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the layer covers."""
        (x, y), (high, wide) = self.origin, self.pixels.shape[:2]
        return slice(y, y + high), slice(x, x + wide)

    def over(self, below: F32) -> F32:
        """The picture (H, W, 3) in 0..255 with this layer laid over ``below`` in its own place."""
        out = below.copy()
        alpha = self.pixels[..., 3:].astype(np.float32) / 255
        part = out[self.box]
        part += alpha * (self.pixels[..., :3] - part)
        return out


@dataclass(frozen=True, slots=True)
class ArmLayer:
    """An arm that can move: two layers that overlap at the elbow, and the bones within."""

    side: Side
    upper: Layer  # shoulder to elbow; filled in where the forearm or the hand hides it
    lower: Layer  # forearm, sleeve's end, watch, hand; reaches a little beyond the elbow
    shoulder: tuple[float, float]
    elbow: tuple[float, float]
    wrist: tuple[float, float]
    hand: F32  # (21, 2) the hand's points, in the order of the hand network


@dataclass(frozen=True, slots=True)
class PersonParts:
    """All layers of one picture (H, W), from the back to the front."""

    plate: U8  # (H, W, 3) the picture without the person
    body: U8  # (H, W, 4) head and trunk
    arms: Mapping[Side, ArmLayer]  # those whose hand is seen
    matte: F32  # (H, W) the whole person, 0..1

    def body_with(self, sides: Iterable[Side]) -> U8:
        """Head and trunk (H, W, 4) with the arms of these sides, in their own places."""
        out = self.body.astype(np.float32)
        for side in sides:
            for layer in (self.arms[side].upper, self.arms[side].lower):
                below, above = out[layer.box], layer.pixels.astype(np.float32)
                share, rest = above[..., 3:] / 255, below[..., 3:] / 255
                alpha = share + rest * (1 - share)
                mixed = above[..., :3] * share + below[..., :3] * rest * (1 - share)
                below[..., :3] = mixed / np.maximum(alpha, 1e-6)
                below[..., 3:] = 255 * alpha
        return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)

    def composed(self) -> U8:
        """All layers in their own places: the picture as it was."""
        out = Layer(self.body, (0, 0)).over(self.plate.astype(np.float32))
        for arm in self.arms.values():
            out = arm.lower.over(arm.upper.over(out))
        return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)
