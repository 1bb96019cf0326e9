"""Where a face or a body lies in a picture, as a square that a small network looks at.

A *crop* is a square of the picture that may be turned: the detector sees it as SIDE x SIDE pixels
with a fourth channel that says where the picture is. What lies beyond the picture is grey.
Units of a person are *eyes*: the distance between the outer corners of the eyes of a face seen
from the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SIDE: Final = 96
GREY: Final = 128  # what lies beyond the picture
FACE_POINTS: Final = (
    "brow_inner_left", "brow_inner_right", "brow_mid_left", "brow_mid_right",
    "brow_outer_left", "brow_outer_right", "cheek_left", "cheek_right", "chin", "chin_front",
    "ear_lobe_left", "ear_lobe_right", "ear_outer_left", "ear_outer_right",
    "ear_top_left", "ear_top_right", "eye_inner_left", "eye_inner_right",
    "eye_outer_left", "eye_outer_right", "forehead", "forehead_side_left", "forehead_side_right",
    "hairline", "jaw_angle_left", "jaw_angle_right", "jaw_mid_left", "jaw_mid_right",
    "lid_lower_inner_left", "lid_lower_inner_right", "lid_lower_left", "lid_lower_outer_left",
    "lid_lower_outer_right", "lid_lower_right", "lid_upper_inner_left", "lid_upper_inner_right",
    "lid_upper_left", "lid_upper_outer_left", "lid_upper_outer_right", "lid_upper_right",
    "lip_lower_inner", "lip_lower_outer", "lip_upper_inner", "lip_upper_outer",
    "mouth_corner_left", "mouth_corner_right", "nose_ala_left", "nose_ala_right", "nose_base",
    "nose_bridge", "nose_tip", "pupil_left", "pupil_right", "temple_left", "temple_right",
    "tragus_left", "tragus_right",
)  # fmt: skip
BODY_POINTS: Final = (
    "crown", "neck_left", "neck_right", "neck_pit", "shoulder_left", "shoulder_right",
    "elbow_left", "elbow_right", "wrist_left", "wrist_right",
    "middle_tip_left", "middle_tip_right",
)  # fmt: skip
FACE_SIDE: Final = 3.0  # eyes: how wide the crop of a face is ...
FACE_BELOW: Final = 0.3  # ... and how far below the eyes its middle lies
BODY_SIDE: Final = 11.0
BODY_BELOW: Final = 3.6
_EYES_TO_MOUTH: Final = 1.3  # eyes apart a face is, by how far its mouth is from them


@dataclass(frozen=True, slots=True)
class Crop:
    """A square: its middle and its side in px of the picture, turned by ``angle`` (radians)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_crop(self, points: NDArray[np.floating], size: int = SIDE) -> F32:
        """Places (N, 2) in the picture as places in the crop seen at ``size`` px."""
        cos, sin, scale = np.cos(self.angle), np.sin(self.angle), size / self.side
        turn = np.array([[cos, -sin], [sin, cos]])
        moved = (np.asarray(points, np.float64) - (self.x, self.y)) @ turn * scale + size / 2
        return np.asarray(moved, np.float32)

    def to_picture(self, points: NDArray[np.floating], size: int = SIDE) -> F32:
        """The way back."""
        cos, sin, scale = np.cos(self.angle), np.sin(self.angle), self.side / size
        turn = np.array([[cos, sin], [-sin, cos]])
        moved = (np.asarray(points, np.float64) - size / 2) @ turn * scale + (self.x, self.y)
        return np.asarray(moved, np.float32)

    def cut(self, picture: U8, size: int = SIDE) -> U8:
        """What the crop shows (size, size, 4); the fourth channel is 255 inside the picture."""
        part, corner = self._around(picture)
        scale = max(1.0, self.side / size)  # no finer than the crop, so that nothing aliases
        image = Image.fromarray(np.dstack([part, np.full(part.shape[:2], 255, np.uint8)]))
        if scale > 1.4:
            less = max(1, round(image.width / scale)), max(1, round(image.height / scale))
            image = image.resize(less, Image.Resampling.BOX)
        ends = self.to_picture(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), size) - corner
        ends = ends * (image.width / part.shape[1], image.height / part.shape[0])
        (x, y), across, down = ends[0], ends[1] - ends[0], ends[2] - ends[0]
        affine = (across[0], down[0], x, across[1], down[1], y)
        seen = np.array(
            image.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        )
        seen[..., :3][seen[..., 3] == 0] = GREY
        return np.asarray(seen, np.uint8)

    def _around(self, picture: U8) -> tuple[U8, tuple[int, int]]:
        """The part of the picture that the crop may show, and where it begins."""
        high, wide = picture.shape[:2]
        reach = 0.72 * self.side + 2  # half a diagonal
        left, right = (int(np.clip(self.x + s * reach, 0, wide)) for s in (-1, 1))
        top, bottom = (int(np.clip(self.y + s * reach, 0, high)) for s in (-1, 1))
        left, top = min(left, wide - 1), min(top, high - 1)
        return picture[top : max(bottom, top + 1), left : max(right, left + 1)], (left, top)


def frame(points: dict[str, tuple[float, float]]) -> tuple[F32, float, float]:
    """Middle between the eyes (2,), px of one *eyes*, and roll (radians) of a face's points."""
    at = {name: np.array(place, np.float64) for name, place in points.items()}
    left, right = (
        0.5 * (at[f"eye_inner_{side}"] + at[f"eye_outer_{side}"]) for side in ("left", "right")
    )
    middle = 0.5 * (left + right)
    mouth = 0.5 * (at["mouth_corner_left"] + at["mouth_corner_right"])
    across = at["eye_outer_left"] - at["eye_outer_right"]
    down = mouth - middle
    eyes = max(float(np.linalg.norm(across)), _EYES_TO_MOUTH * float(np.linalg.norm(down)))
    way = across / max(float(np.linalg.norm(across)), 1e-6)
    way = way + np.array([down[1], -down[0]]) / max(float(np.linalg.norm(down)), 1e-6)
    return middle.astype(np.float32), eyes, float(np.arctan2(way[1], way[0]))


def face_crop(middle: NDArray[np.floating], eyes: float, roll: float) -> Crop:
    """The crop of a face, upright in itself."""
    below = FACE_BELOW * eyes
    x, y = float(middle[0]) - below * np.sin(roll), float(middle[1]) + below * np.cos(roll)
    return Crop(float(x), float(y), FACE_SIDE * eyes, roll)


def body_crop(middle: NDArray[np.floating], eyes: float) -> Crop:
    """The crop of head, trunk and arms, upright as the picture is."""
    return Crop(float(middle[0]), float(middle[1]) + BODY_BELOW * eyes, BODY_SIDE * eyes)
