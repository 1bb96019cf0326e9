"""The lower face as triangles: where each pixel of the new one comes from in the old one.

Triangles and shares are found once on a standard face with an open mouth. Beyond the outline of the
face lies a ring of points that stay, so that the way of every pixel fades to nothing before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from pipeline.dubbing.geometry import INNER, OVAL, RINGS
from pipeline.dubbing.mouth_shape import offsets, standard_face
from pipeline.models.mini.rig.state import MOUTH

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

_OUT: Final = 1.32  # the ring's distance from the middle of the face, of the outline's
_BEHIND: Final = 0.9  # eyes that the ring lies deeper than the face


@dataclass(frozen=True, slots=True)
class Topology:
    """Triangles over the mesh and its ring, and how far each point follows the mouth."""

    triangles: I32  # (T, 3); those of the opening are left out
    share: F64  # (468,) 1 at the lips and chin, 0 at nose, eyes and ears


@cache
def topology() -> Topology:
    """Of the standard face."""
    face = standard_face()
    open_mouth = np.zeros(len(MOUTH))
    open_mouth[MOUTH.index("jawOpen")] = 0.6
    shown = with_ring(face + offsets(open_mouth))
    found = Delaunay(shown[:, :2]).simplices
    opening = np.isin(found, INNER).all(1)
    share = _share(face)
    moving = (np.concatenate([share, np.zeros(len(OVAL))])[found] > 0).any(1)
    a, b, c = (shown[found[:, k], :2] for k in range(3))
    back = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) < 0
    found[back] = found[back][:, [0, 2, 1]]  # all the same way round
    return Topology(found[moving & ~opening].astype(np.int32), share)


def with_ring(points: NDArray[np.floating]) -> F64:
    """A mesh (468, 3), canonical or placed, with its ring behind it: (504, 3)."""
    edge = np.asarray(points[OVAL], np.float64)
    middle = np.asarray(points[[1, 152, 10, 234, 454]], np.float64).mean(0)
    ring = middle + _OUT * (edge - middle)
    ring[:, 2] = edge[:, 2] + _BEHIND * np.linalg.norm(points[33, :2] - points[263, :2])
    return np.concatenate([points, ring])


def _share(face: F64) -> F64:
    """Smooth from nose to lip, and from the mouth to the sides of the jaw."""
    nose, lip, chin = face[2, 1], face[0, 1], face[152, 1]
    mouth = abs(face[291, 0] - face[61, 0]) / 2
    down = _smooth((face[:, 1] - nose + 0.02) / (lip - nose))
    low = np.clip((face[:, 1] - lip) / (chin - lip), 0, 1)
    aside = (np.abs(face[:, 0]) - mouth * 1.15) / (mouth * (1.1 - 0.35 * low))
    out = down * (1 - _smooth(aside))
    out[RINGS] = 1
    return np.asarray(out)


def _smooth(x: F64) -> F64:
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


@njit(cache=True, nogil=True)
def fill(triangles, old, new, weight, left, top, way, matte):  # type: ignore[no-untyped-def]
    """Lays triangles at ``new`` (N, 3) px into a box of px from (left, top), nearest last.

    ``way`` (h, w, 2) gets the offset to ``old`` px, ``matte`` (h, w) the points' ``weight``.
    Triangles that show their back are left out.
    """
    high, wide = matte.shape
    depth = np.empty(triangles.shape[0])
    for t in range(triangles.shape[0]):
        depth[t] = -(new[triangles[t, 0], 2] + new[triangles[t, 1], 2] + new[triangles[t, 2], 2])
    for t in np.argsort(depth):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = new[i, 0] - left - 0.5, new[i, 1] - top - 0.5
        bx, by = new[j, 0] - left - 0.5, new[j, 1] - top - 0.5
        cx, cy = new[k, 0] - left - 0.5, new[k, 1] - top - 0.5
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area < 1e-3:
            continue
        ux, vx, wx = old[i, 0] - new[i, 0], old[j, 0] - new[j, 0], old[k, 0] - new[k, 0]
        uy, vy, wy = old[i, 1] - new[i, 1], old[j, 1] - new[j, 1], old[k, 1] - new[k, 1]
        for y in range(max(0, int(np.ceil(min(ay, by, cy)))),
                       min(high - 1, int(np.floor(max(ay, by, cy)))) + 1):  # fmt: skip
            for x in range(max(0, int(np.ceil(min(ax, bx, cx)))),
                           min(wide - 1, int(np.floor(max(ax, bx, cx)))) + 1):  # fmt: skip
                p = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                q = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                r = 1.0 - p - q
                if p < -1e-9 or q < -1e-9 or r < -1e-9:
                    continue
                way[y, x, 0] = p * ux + q * vx + r * wx
                way[y, x, 1] = p * uy + q * vy + r * wy
                matte[y, x] = p * weight[i] + q * weight[j] + r * weight[k]
