"""Contact shadows: light that arms and chin take from the body below them, as they come near.

An arm is three capsules, a jaw is one. What a capsule takes from a point is how much of the
point's sky it fills: (radius / distance) squared, times the cosine. The picture already holds the
shadows of its own pose, so only what is taken beyond that darkens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.renderer.rasterizer import COMPILED
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES

F32 = NDArray[np.float32]

_CAPSULES: Final = (  # from one landmark to another, with a radius in metres
    *(
        (f"{start}_{side}", f"{end}_{side}", radius)
        for side in ("left", "right")
        for start, end, radius in (
            ("shoulder", "elbow", 0.042),
            ("elbow", "wrist", 0.040),
            ("wrist", "middle_tip", 0.036),
        )
    ),
    ("jaw_mid_left", "jaw_mid_right", 0.030),
)
_LAYERS: Final = ("skin", "clothes", "legs")
_DEEPEST: Final = 0.5  # of the light that a touch takes


@dataclass(frozen=True, slots=True)
class Contact:
    """The rows that can be shadowed, and the capsules that do it."""

    rows: NDArray[np.int32]  # (K,) of the surface
    vertex: NDArray[np.int32]  # (K,) behind them
    taken: F32  # (K,) of the light in the picture's own pose, 0..1
    ends: NDArray[np.int32]  # (C, 2) vertices
    radius: F32  # (C,)


def build(person: Person, surface: Surface, posed: F32, normals: F32) -> Contact:
    """Contacts of a person whose picture shows the pose ``posed`` (N, 3)."""
    head = [BONES.index(name) for name in ("head", "eye.L", "eye.R")]
    on_head = (person.body.weight * np.isin(person.body.bone, head)).sum(1)
    trunk = np.isin(surface.layer, [LAYERS.index(name) for name in _LAYERS])
    rows = np.flatnonzero(trunk & (on_head[surface.vertex] < 0.3)).astype(np.int32)
    marks = person.body.landmarks
    ends = np.array([(marks[a], marks[b]) for a, b, _ in _CAPSULES], np.int32)
    radius = np.array([r for _, _, r in _CAPSULES], np.float32)
    vertex = np.ascontiguousarray(surface.vertex[rows])
    taken = np.zeros(len(rows), np.float32)
    _take(posed, normals, vertex, ends, radius, taken)
    return Contact(rows, vertex, taken, ends, radius)


@njit(**COMPILED)
def _take(posed, normals, vertex, ends, radius, out):  # type: ignore[no-untyped-def]
    """The light (K,) that the capsules take from each vertex, 0..1."""
    zero, one, tiny = np.float32(0.0), np.float32(1.0), np.float32(1e-6)
    for k in range(vertex.shape[0]):
        i = vertex[k]
        x, y, z = posed[i, 0], posed[i, 1], posed[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        left = one
        for c in range(ends.shape[0]):
            a, b = ends[c, 0], ends[c, 1]
            ax, ay, az = posed[a, 0] - x, posed[a, 1] - y, posed[a, 2] - z
            bx, by, bz = posed[b, 0] - x, posed[b, 1] - y, posed[b, 2] - z
            ux, uy, uz = bx - ax, by - ay, bz - az
            along = -(ax * ux + ay * uy + az * uz) / (ux * ux + uy * uy + uz * uz + tiny)
            t = min(max(along, zero), one)
            dx, dy, dz = ax + t * ux, ay + t * uy, az + t * uz
            square = dx * dx + dy * dy + dz * dz + tiny
            cosine = max((dx * nx + dy * ny + dz * nz) / np.sqrt(square), zero)
            left *= one - cosine * min(radius[c] * radius[c] / square, one)
        out[k] = one - left


@njit(**COMPILED)
def _darken(rows, taken, now, deepest, column, vertices):  # type: ignore[no-untyped-def]
    one, zero = np.float32(1.0), np.float32(0.0)
    for k in range(rows.shape[0]):
        vertices[rows[k], column] *= one - deepest * max(now[k] - taken[k], zero)


def darken(
    contact: Contact, posed: F32, normals: F32, now: F32, column: int, vertices: F32
) -> None:
    """Multiply ``column`` of the rows' vertices by what is left of their light.

    ``now`` (K,) is scratch memory.
    """
    _take(posed, normals, contact.vertex, contact.ends, contact.radius, now)
    _darken(contact.rows, contact.taken, now, np.float32(_DEEPEST), column, vertices)
