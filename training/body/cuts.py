"""New vertices on the base mesh: clean cuts along a curve, and eyeballs with a round iris.

Every new vertex is an affine mix of base-mesh vertices, so targets, face units and weights of
the base mesh apply to it by the same mix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
SNAP: Final = 0.08  # of an edge: a cut this close to a vertex goes through it

# The eyeball: rings by angle from the optical axis, with the material that begins at each.
EYE_RINGS: Final = (
    4.0,
    8.0,
    11.0,
    14.0,
    18.0,
    22.0,
    25.5,
    28.0,
    34.0,
    44.0,
    56.0,
    70.0,
    90.0,
    115.0,
)
EYE_SEGMENTS: Final = 32
PUPIL_ANGLE, IRIS_ANGLE = 11.0, 25.5


@dataclass(slots=True)
class Growth:
    """Base vertices and the mixes that grew beside them; the same for texture coordinates."""

    vertices: Floats  # (V, 3)
    uv: Floats  # (U, 2)
    mixes: list[dict[int, float]] = field(default_factory=list)
    grown_uv: list[Floats] = field(default_factory=list)
    _edges: dict[tuple[int, int, float], int] = field(default_factory=dict)
    _uv_edges: dict[tuple[int, int, float], int] = field(default_factory=dict)

    def extend(self, dense: Floats) -> Floats:
        """Rows of the base mesh (V, ...) -> (V + grown, ...)."""
        if not self.mixes:
            return dense
        rows = np.repeat(np.arange(len(self.mixes)), [len(mix) for mix in self.mixes])
        columns = np.concatenate([list(mix) for mix in self.mixes])
        values = np.concatenate([list(mix.values()) for mix in self.mixes])
        shape = (len(self.mixes), len(self.vertices))
        matrix = csr_matrix((values, (rows, columns)), shape=shape)
        flat = dense.reshape(len(dense), -1)
        return np.concatenate([flat, matrix @ flat]).reshape(-1, *dense.shape[1:])

    def all_uv(self) -> Floats:
        return np.concatenate([self.uv, np.array(self.grown_uv).reshape(-1, 2)])

    def add(self, mix: dict[int, float]) -> int:
        self.mixes.append(mix)
        return len(self.vertices) + len(self.mixes) - 1

    def add_uv(self, point: Floats) -> int:
        self.grown_uv.append(point)
        return len(self.uv) + len(self.grown_uv) - 1

    def between(self, a: int, b: int, t: float) -> int:
        """The vertex at t on the edge from a to b, grown once for both of its faces."""
        key = _edge(a, b, t)
        if key not in self._edges:
            mix: dict[int, float] = {}
            for end, share in ((a, 1 - t), (b, t)):
                for base, weight in self._mix(end).items():
                    mix[base] = mix.get(base, 0.0) + share * weight
            self._edges[key] = self.add(mix)
        return self._edges[key]

    def swell(self, vertex: int, middle: list[int], share: float) -> int:
        """The vertex moved away from the mean of ``middle`` by a share of their distance."""
        mix = {base: weight * (1 + share) for base, weight in self._mix(vertex).items()}
        for base in middle:
            mix[base] = mix.get(base, 0.0) - share / len(middle)
        return self.add(mix)

    def uv_between(self, a: int, b: int, t: float) -> int:
        key = _edge(a, b, t)
        if key not in self._uv_edges:
            known = self.uv if max(a, b) < len(self.uv) else self.all_uv()
            self._uv_edges[key] = self.add_uv((1 - t) * known[a] + t * known[b])
        return self._uv_edges[key]

    def _mix(self, vertex: int) -> dict[int, float]:
        count = len(self.vertices)
        return {vertex: 1.0} if vertex < count else self.mixes[vertex - count]


def _edge(a: int, b: int, t: float) -> tuple[int, int, float]:
    """One key for a place on an edge, whichever face asks."""
    return (a, b, round(t, 4)) if a < b else (b, a, round(1 - t, 4))


Corner = tuple[int, int]  # vertex, texture coordinate


def cut(
    growth: Growth, faces: NDArray[np.int64], uv_faces: NDArray[np.int64], values: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split triangles where ``values`` (of all vertices) changes sign.

    Returns faces, texture faces, and for each the number of the face that it came from.
    """
    values = _snapped(faces, values)
    out: list[list[int]] = []
    out_uv: list[list[int]] = []
    origin: list[int] = []
    for number, (face, uv_face) in enumerate(zip(faces.tolist(), uv_faces.tolist(), strict=True)):
        corners = list(zip(face, uv_face, strict=True))
        signs = [values[v] for v in face]
        if min(signs) >= 0 or max(signs) <= 0:
            polygons = [corners]
        else:
            polygons = [_side(growth, corners, values, sign) for sign in (1.0, -1.0)]
        for polygon in polygons:
            for k in range(1, len(polygon) - 1):
                triangle = (polygon[0], polygon[k], polygon[k + 1])
                out.append([vertex for vertex, _ in triangle])
                out_uv.append([uv for _, uv in triangle])
                origin.append(number)
    return np.array(out), np.array(out_uv), np.array(origin)


def _snapped(faces: NDArray[np.int64], values: Floats) -> Floats:
    """Values with vertices set to zero where the cut would pass very close to them."""
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    a, b = values[edges[:, 0]], values[edges[:, 1]]
    crossing = a * b < 0
    t = np.divide(a, a - b, out=np.full(len(a), 0.5), where=crossing)
    out = values.copy()
    out[edges[crossing & (t < SNAP), 0]] = 0
    out[edges[crossing & (t > 1 - SNAP), 1]] = 0
    return out


def _side(growth: Growth, corners: list[Corner], values: Floats, sign: float) -> list[Corner]:
    """The part of a triangle where ``sign * values`` is positive, as a polygon."""
    polygon: list[Corner] = []
    for (v, uv), (w, uw) in zip(corners, corners[1:] + corners[:1], strict=True):
        if sign * values[v] >= 0:
            polygon.append((v, uv))
        if values[v] * values[w] < 0:
            t = float(values[v] / (values[v] - values[w]))
            polygon.append((growth.between(v, w, t), growth.uv_between(uv, uw, t)))
    return polygon


def eyeball(
    growth: Growth, helper: NDArray[np.int64], mirrored: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """Faces, texture faces and materials of a round eyeball in place of the helper's vertices.

    Its texture square has the pupil in the middle and an angle of 180 degrees at the rim.
    """
    points = growth.vertices[helper]
    center = (points.min(0) + points.max(0)) / 2
    radius = float(np.ptp(points, axis=0).max()) / 2
    place = _affine(points)
    spins = np.arange(EYE_SEGMENTS) * 2 * np.pi / EYE_SEGMENTS * (-1 if mirrored else 1)
    spins += np.pi if mirrored else 0.0

    def grow(angle: float, spin: float) -> Corner:
        theta = np.deg2rad(angle)
        ring = np.array([np.cos(spin), np.sin(spin)]) * np.sin(theta)
        weights = place(center + radius * np.array([*ring, np.cos(theta)]))
        mix = dict(zip(helper.tolist(), weights.tolist(), strict=True))
        flat = 0.5 + 0.5 * angle / 180 * np.array([np.cos(spin), np.sin(spin)])
        return growth.add(mix), growth.add_uv(flat)

    pole = grow(0.0, 0.0)
    rings = [[grow(angle, spin) for spin in spins] for angle in EYE_RINGS]
    return _eye_faces(pole, rings, mirrored)


def _affine(points: Floats) -> Callable[[Floats], Floats]:
    """Weights (summing to one) over the points that reproduce a place under affine motion."""
    inverse = np.linalg.pinv(np.concatenate([points, np.ones((len(points), 1))], axis=1).T)
    return lambda place: np.asarray(inverse @ np.append(place, 1.0))


def _eye_faces(
    pole: Corner, rings: list[list[Corner]], mirrored: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    triangles: list[tuple[Corner, Corner, Corner]] = []
    material: list[str] = []
    for number, ring in enumerate(rings):
        outer = EYE_RINGS[number]
        name = "pupil" if outer <= PUPIL_ANGLE else "iris" if outer <= IRIS_ANGLE else "eye"
        for k in range(EYE_SEGMENTS):
            a, b = ring[k], ring[(k + 1) % EYE_SEGMENTS]
            if number == 0:
                strip = [(pole, a, b)]
            else:
                c, d = rings[number - 1][k], rings[number - 1][(k + 1) % EYE_SEGMENTS]
                strip = [(c, a, b), (c, b, d)]
            triangles += [(p, r, q) if mirrored else (p, q, r) for p, q, r in strip]
            material += [name] * len(strip)
    table = np.array(triangles)
    return table[:, :, 0], table[:, :, 1], np.array(material, "U8")
