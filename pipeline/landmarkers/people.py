"""What is found of people in a picture. Left and right are the person's own.

Places are px of the picture, x to the right, y down; z is px too and grows away from the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers.crops import Square

F32 = NDArray[np.float32]

Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Face:
    """A face: 468 points of a mesh, lips and eyes refined, then 5 of each iris.

    Points 468 to 472 are the right eye's iris, 473 to 477 the left one's; the first is its middle.
    """

    points: F32  # (478, 3) px; z is relative to the middle of the head
    score: float  # 0..1: whether there is a face in the crop that the points come from
    detection: float  # 0..1: how sure the detector was; 0 where a tracker asked none
    yaw: float  # radians that it looks past the camera, to its own left ...
    pitch: float  # ... and upwards
    roll: float  # radians that it is turned clockwise in the picture
    eyes: float  # px between the outer corners of the eyes, were they seen from the front


@dataclass(frozen=True, slots=True)
class Body:
    """33 points of a body, in the order of BlazePose.

    Arms that leave the picture have points and a high visibility all the same: an arm is shown only
    where a hand was found at its end.
    """

    points: F32  # (33, 3) px; z is relative to the middle of the hips
    world: F32  # (33, 3) metres from the middle of the hips, axes as in the picture
    visibility: F32  # (33,) 0..1: in the picture and not hidden
    presence: F32  # (33,) 0..1: in the picture
    score: float  # 0..1: whether there is a body in the crop that the points come from


@dataclass(frozen=True, slots=True)
class Hand:
    """21 points of a hand: the wrist, then four of each finger from the thumb on."""

    points: F32  # (21, 3) px; z is relative to the wrist
    world: F32  # (21, 3) metres from the middle of the hand
    presence: float  # 0..1: whether there is a hand in the crop that the points come from
    score: float  # 0..1: the palm's detection; 0 where the body's wrist alone said where to look


@dataclass(frozen=True, slots=True)
class Mask:
    """Which part of a turned square of the picture is the person; outside of it nothing is."""

    values: F32  # (256, 256) 0..1
    square: Square

    def at(self, height: int, width: int) -> F32:
        """The mask (height, width) of a picture of this size, 0..1."""
        return self.square.spread(self.values, height, width)


@dataclass(frozen=True, slots=True)
class Person:
    """A face and the body that it belongs to, with those hands that are shown."""

    face: Face
    body: Body
    left: Hand | None
    right: Hand | None
    mask: Mask

    @property
    def hands(self) -> Mapping[Side, Hand]:
        """The hands that were found."""
        both: dict[Side, Hand | None] = {"left": self.left, "right": self.right}
        return {side: hand for side, hand in both.items() if hand is not None}
