"""What single-shot detectors answer, as boxes with key points (Liu et al. 2016, "SSD").

A detector looks at a square in a grid of places; each place says how sure it is that something lies
there, and where. Boxes that overlap are averaged, each by its score (Bazarevsky et al. 2019,
"BlazeFace", which calls it blending).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers.crops import Square
from pipeline.landmarkers.networks import network, sigmoid

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_SAME: Final = 0.3  # of their union: boxes that share more are one
_GRIDS: Final = {  # detector: (cells across, places in each cell)
    "face_detector": ((48, 1),),
    "pose_detector": ((28, 2), (14, 2), (7, 6)),
    "palm_detector": ((24, 2), (12, 6)),
}


@dataclass(frozen=True, slots=True)
class Detection:
    """Something found, px of the picture."""

    score: float
    corners: F32  # (2, 2) upper left and lower right
    points: F32  # (K, 2)

    @property
    def middle(self) -> F32:
        return np.asarray(self.corners.mean(0), np.float32)

    @property
    def side(self) -> float:
        """The longer side."""
        return float((self.corners[1] - self.corners[0]).max())


@cache
def _anchors(name: str) -> F32:
    """Middles (N, 2) of a detector's places, 0..1."""
    out = []
    for cells, count in _GRIDS[name]:
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        out.append(np.repeat((np.stack([x, y], 1) + 0.5) / cells, count, 0))
    return np.concatenate(out).astype(np.float32)


def detect(name: str, picture: U8, square: Square, least: float) -> list[Detection]:
    """What a detector finds in an upright square of a picture, the surest first."""
    net = network(name)
    answer = net(square.cut(picture, net.size))
    scores = sigmoid(answer["scores"][0, :, 0])
    kept = scores >= least
    raw = answer["boxes"][0, kept] / net.size
    middles, sizes = raw[:, :2] + _anchors(name)[kept], raw[:, 2:4]
    points = raw[:, 4:].reshape(len(raw), (raw.shape[1] - 4) // 2, 2) + _anchors(name)[kept, None]
    corners = [(middles - sizes / 2)[:, None], (middles + sizes / 2)[:, None]]
    places = np.concatenate([*corners, points], 1, dtype=np.float32)
    return [
        Detection(score, square.to_picture(place[:2]), square.to_picture(place[2:]))
        for score, place in blended(scores[kept], places)
    ]


def blended(scores: F32, places: F32) -> list[tuple[float, F32]]:
    """Boxes with points (N, 2 + K, 2): those that overlap as one, their mean by score."""
    out, left = [], np.argsort(-scores)
    while len(left):
        best = left[0]
        same = overlap(places[best], places[left]) > _SAME
        same[0] = True
        weights = scores[left[same]]
        mean = (places[left[same]] * weights[:, None, None]).sum(0) / weights.sum()
        out.append((float(scores[best]), np.asarray(mean, np.float32)))
        left = left[~same]
    return out


def overlap(box: F32, others: F32) -> F32:
    """Shared area of a box (>= 2, 2) and others (N, >= 2, 2), of their union."""
    low = np.maximum(box[0], others[:, 0])
    high = np.minimum(box[1], others[:, 1])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = np.clip(others[:, 1] - others[:, 0], 0, None).prod(1)
    own = np.clip(box[1] - box[0], 0, None).prod()
    return np.asarray(shared / np.maximum(own + areas - shared, 1e-9), np.float32)
