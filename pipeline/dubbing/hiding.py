"""What is before a face: mesh points whose colour is not this person's.

A person's colour at each point of the mesh is learnt over the video, so that beards, glasses and a
microphone that is always there belong to the face. Light is taken out by the points of the upper
face.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dubbing.geometry import OVAL, RINGS
from pipeline.dubbing.mouth_shape import standard_face
from pipeline.dubbing.video_in import Shot
from pipeline.landmarkers import mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_KEPT: Final = 60  # samples of each person
_FLOOR: Final = np.array([0.045, 0.012, 0.012], np.float32)  # luma and chroma that always vary
_FROM, _TO = 3.0, 5.5  # spreads: a point further off is hidden


class Colours:
    """Luma and chroma at the mesh of one person, over the video."""

    def __init__(self) -> None:
        self.samples: list[F32] = []
        self._seen = 0
        self._known: tuple[F32, F32] | None = None

    def add(self, shot: Shot, points: NDArray[np.floating]) -> None:
        """One more frame."""
        self._seen += 1
        sample = _even(colours(shot, points))
        if len(self.samples) < _KEPT:
            self.samples.append(sample)
        else:
            self.samples[(self._seen * 7919) % _KEPT] = sample

    def join(self, other: Colours) -> None:
        """The samples of the same person's other track."""
        self.samples = (self.samples + other.samples)[-_KEPT:]
        self._seen += other._seen

    def hidden(self, shot: Shot, points: NDArray[np.floating]) -> F64:
        """(468,) 0..1: where a frame shows something else than this face."""
        if self._known is None:
            middle = np.median(self.samples, 0)
            spread = 1.48 * np.median(np.abs(np.array(self.samples) - middle), 0) + _FLOOR
            self._known = middle.astype(np.float32), spread.astype(np.float32)
        middle, spread = self._known
        off = (np.abs(_even(colours(shot, points)) - middle) / spread).max(1)
        off[_MOVING] = 0  # lips and what lies between them change by themselves
        hidden = np.clip((off - _FROM) / (_TO - _FROM), 0, 1)
        return _spread(hidden.astype(np.float64))


_MOVING: Final = np.unique(np.concatenate([RINGS.ravel(), OVAL]))


def colours(shot: Shot, points: NDArray[np.floating]) -> F32:
    """Luma and chroma (468, 3) of a frame at a mesh, 0..1, each averaged over a few px."""
    out = np.empty((mesh.MESH, 3), np.float32)
    eyes = float(np.linalg.norm(points[33, :2] - points[263, :2]))
    for k, plane in enumerate(shot.planes):
        step = (1, 1) if k == 0 else shot.step
        at = points[: mesh.MESH, :2] / np.array(step)
        low = np.clip(np.floor(at.min(0)).astype(int) - 4, 0, None)
        high = np.ceil(at.max(0)).astype(int) + 5
        part = np.ascontiguousarray(plane[low[1] : high[1], low[0] : high[0]]).astype(np.float32)
        if part.size == 0:
            out[:, k] = 0
            continue
        part[:] = cv2.blur(part, (2 * max(1, round(eyes / 60 / step[0])) + 1,) * 2)
        where = np.clip((at - low).astype(int), 0, np.array(part.shape[::-1]) - 1)
        out[:, k] = part[where[:, 1], where[:, 0]]
    return out / np.float32(2**shot.depth - 1)


_UPPER: Final = np.array([151, 9, 108, 337, 69, 299, 66, 296, 6, 197, 50, 280, 101, 330, 118, 347])


def _even(sample: F32) -> F32:
    """Without the frame's light: luma over that of the upper face, chroma less its own."""
    out = sample.copy()
    out[:, 0] = 0.5 * sample[:, 0] / max(float(np.median(sample[_UPPER, 0])), 0.02)
    out[:, 1:] -= np.median(sample[_UPPER, 1:], 0)
    return out


def _spread(hidden: F64) -> F64:
    """Each point as its surroundings are: single points are noise, lips go with what is around."""
    near, weight = _neighbours()
    return np.asarray(np.clip(1.6 * (weight * hidden[near]).sum(1) - 0.3, 0, 1))


_CACHE: list[tuple[NDArray[np.intp], F64]] = []


def _neighbours() -> tuple[NDArray[np.intp], F64]:
    """For each point, the 10 nearest that are judged, and their weights."""
    if not _CACHE:
        face = standard_face()[:, :2]
        judged = np.setdiff1d(np.arange(len(face)), _MOVING)
        far = np.linalg.norm(face[:, None] - face[judged], axis=2)
        nearest = np.argsort(far, 1)[:, :10]
        weight = 1 / (np.take_along_axis(far, nearest, 1) + 0.03)
        _CACHE.append((judged[nearest], weight / weight.sum(1, keepdims=True)))
    return _CACHE[0]
