"""Bodies: where they are, their 33 points and their mask (Bazarevsky et al. 2020, "BlazePose")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers.boxes import Detection, detect
from pipeline.landmarkers.crops import Square
from pipeline.landmarkers.networks import network, sigmoid
from pipeline.landmarkers.people import Body, Mask, Side

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LEAST: Final = 0.5
NOSE: Final = 0
SHOULDERS: Final[dict[Side, int]] = {"left": 11, "right": 12}
ELBOWS: Final[dict[Side, int]] = {"left": 13, "right": 14}
WRISTS: Final[dict[Side, int]] = {"left": 15, "right": 16}
PINKIES: Final[dict[Side, int]] = {"left": 17, "right": 18}
INDICES: Final[dict[Side, int]] = {"left": 19, "right": 20}
COUNT: Final = 33
_MIDDLE, _RIM = 33, 34  # points that say where the whole body is
_ROOM: Final = 1.25
_WINDOW: Final = 3  # cells to either side in which a point's heat is averaged
_WARM: Final = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A body and what follows from its points: its mask, and where to look in the next frame."""

    body: Body
    mask: Mask
    next_square: Square


def detect_bodies(picture: U8, square: Square) -> list[Detection]:
    """Bodies in a square; points are the hips' middle, the rim of a circle around it and others."""
    return detect("pose_detector", picture, square, LEAST)


def square_of(detection: Detection) -> Square:
    """The crop of a detected body, turned upright."""
    return _circled(*detection.points[:2])


def _circled(middle: F32, rim: F32) -> Square:
    right, down = (rim - middle).tolist()
    side = 2 * _ROOM * max(float(np.hypot(right, down)), 1.0)
    return Square(float(middle[0]), float(middle[1]), side, float(np.arctan2(right, -down)))


def look(picture: U8, square: Square) -> Seen:
    """The body in a crop; whether there is one is said by its score."""
    net = network("pose")
    answer = net(square.cut(picture, net.size))
    points = answer["points"].reshape(-1, 5)
    places = np.asarray(points[:, :3] / net.size, np.float32)
    places[:, :2] = _refined(places[:, :2], answer["heatmap"][0])
    flat = square.to_picture(places[:, :2])
    body = Body(
        points=np.concatenate([flat, square.side * places[:, 2:]], 1, dtype=np.float32)[:COUNT],
        world=_turned(answer["world"].reshape(-1, 3)[:COUNT], square),
        visibility=sigmoid(points[:COUNT, 3]),
        presence=sigmoid(points[:COUNT, 4]),
        score=float(answer["flag"].reshape(())),
    )
    mask = Mask(sigmoid(answer["mask"][0, :, :, 0]), square)
    return Seen(body, mask, _circled(flat[_MIDDLE], flat[_RIM]))


def _refined(places: F32, heat: F32) -> F32:
    """Points (L, 2) in 0..1 moved to the mean of the heat (H, W, L) around them."""
    high, wide = heat.shape[:2]
    out = places.copy()
    for i, (x, y) in enumerate(places * (wide, high)):
        if not (0 <= x < wide and 0 <= y < high):
            continue
        left, top = max(int(x) - _WINDOW, 0), max(int(y) - _WINDOW, 0)
        warm = sigmoid(heat[top : int(y) + _WINDOW + 1, left : int(x) + _WINDOW + 1, i])
        if warm.max() >= _WARM:
            rows, columns = warm.sum(1), warm.sum(0)
            across = columns @ np.arange(left, left + len(columns))
            down = rows @ np.arange(top, top + len(rows))
            out[i] = np.array([across, down]) / warm.sum() / (wide, high)
    return out


def _turned(world: F32, square: Square) -> F32:
    """Metres in the crop's axes as metres in the picture's."""
    out = world.copy()
    out[:, :2] = world[:, :2] @ square.axes()
    return out


def shoulder_width(body: Body) -> float:
    """Px between the shoulders, as if seen from the front."""
    gap = body.points[SHOULDERS["left"]] - body.points[SHOULDERS["right"]]
    return max(float(np.linalg.norm(gap)), 1.0)
