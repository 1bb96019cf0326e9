"""Whether a face in footage is the one of a picture, by what is measured here without a model.

A look is the upper face laid flat by its mesh, normalised for light, less what all faces have in
common. This is no face recognition: it rules out clear strangers, and lets others pass (figures in
docs/dubbing.md). Where the operator has a face model, that one decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import Delaunay

from pipeline.avatars import catalogue
from pipeline.dubbing import mesh_warp
from pipeline.dubbing.mouth_shape import standard_face
from pipeline.landmarkers import faces, mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_SIDE: Final = 72
_FINE: Final = 46.0  # px of a look for each eye
_MIDDLE: Final = (_SIDE / 2, 26.0)  # where the middle between the eyes lies in a look
SAME: Final = 0.30  # likeness from which on two are taken for one person


@cache
def _layout() -> tuple[F64, NDArray[np.int32], NDArray[np.bool_]]:
    """Where mesh points lie in a look (468, 3), the triangles, and which pixels count."""
    face = standard_face() * _FINE
    face[:, :2] += _MIDDLE
    found = Delaunay(face[:, :2]).simplices
    a, b, c = (face[found[:, k], :2] for k in range(3))
    back = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) < 0
    found[back] = found[back][:, [0, 2, 1]]
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    counts = (rows < face[164, 1]) & (rows > 3) & (np.abs(columns - _SIDE / 2) < 0.62 * _FINE)
    return face, found.astype(np.int32), counts


def _flat(picture: U8, points: NDArray[np.floating]) -> F32:
    """The upper face (72, 72) as seen from the front, even in light, of mean 0 and length 1."""
    face, triangles, counts = _layout()
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    old = np.asarray(points[: mesh.MESH], np.float64)
    shrink = float(np.linalg.norm(old[263, :2] - old[33, :2])) / _FINE
    if shrink > 1.2:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.5 * shrink))
    way = np.zeros((_SIDE, _SIDE, 2), np.float32)
    seen = np.zeros((_SIDE, _SIDE), np.float32)
    mesh_warp.fill(triangles, old, face, np.ones(len(face)), 0, 0, way, seen)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    flat = cv2.remap(grey, x + way[..., 0], y + way[..., 1], cv2.INTER_LINEAR).astype(np.float32)
    flat = np.asarray(cv2.GaussianBlur(flat, (0, 0), 1.3), np.float32)
    even = flat - cv2.GaussianBlur(flat, (0, 0), 9)
    even /= np.sqrt(cv2.GaussianBlur(even * even, (0, 0), 12)) + 2
    return _normal(even * (counts & (seen > 0)))


def _normal(pixels: NDArray[np.floating]) -> F32:
    counts = _layout()[2]
    out = np.where(counts, pixels - pixels[counts].mean(), 0)
    return np.asarray(out / max(float(np.linalg.norm(out)), 1e-6), np.float32)


@cache
def _common() -> F32:
    """What all faces have in common, of the bundled people."""
    flats = []
    for avatar in catalogue().values():
        picture = np.asarray(Image.open(avatar.reference).convert("RGB"))
        points = find(picture)
        if points is not None:
            flats += [flat := _flat(picture, points), flat[:, ::-1]]
    return np.asarray(np.mean(flats, 0), np.float32)


def find(picture: U8) -> F32 | None:
    """The mesh (478, 3) of the largest face of a picture, if there is one."""
    found = faces.detect_faces(picture)
    if not found:
        return None
    best = max(found, key=lambda detection: detection.side)
    face = faces.look(picture, faces.square_of(best))
    face = faces.look(picture, faces.square_around(face.points))
    return face.points if face.score >= faces.LEAST else None


def look_of(picture: U8, points: NDArray[np.floating]) -> F32:
    """The look (72, 72) of a mesh (478, 3) in a picture (H, W, 3) of 8-bit RGB."""
    return _normal(_flat(picture, points) - _common())


def mean_look(looks: Sequence[F32]) -> F32:
    """One look of several frames."""
    return _normal(np.mean(looks, 0))


def likeness(one: F32, other: F32) -> float:
    """Correlation of two looks, -1 to 1."""
    return float((one * other).sum())
