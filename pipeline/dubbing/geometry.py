"""The face mesh as geometry: which points hold still, which move with the mouth, how it is posed.

Canonical faces are (468, 3) in eyes (distance of the outer corners of the eyes), looking ahead,
axes as in pictures: x right, y down, z away. A pose leads from there to px of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import mesh

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Around the lips from the right corner: below to the left corner, then back above it. The rings
# from outside to inside: edge of the lips, two between, and where the lips meet.
RINGS: Final = mesh.LIPS.reshape(4, 20)[[0, 2, 3, 1]]
INNER: Final = RINGS[3]
LOWER_LIP: Final = RINGS[:, 1:10]
UPPER_LIP: Final = RINGS[:, 11:20]
CORNERS: Final = (61, 291)
# The outline of the face, from the forehead clockwise in the picture.
OVAL: Final = np.array([
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
])  # fmt: skip
# What no expression moves much: eye corners, bridge and back of the nose, temples, forehead.
STILL: Final = np.array([
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 10, 151, 9, 127, 356,
    234, 454, 103, 332, 54, 284, 21, 251, 116, 345, 193, 417, 122, 351, 188, 412, 93, 323, 132, 361,
    58, 288,
])  # fmt: skip


def ordered_inner() -> NDArray[np.int64]:
    """The 20 points where the lips meet, in order around the opening."""
    lower, upper = INNER[:11], INNER[11:]
    return np.concatenate([lower, upper[::-1]])


_FIRM: Final = 0.01  # how much a pose is held to be a rotation


@dataclass(frozen=True, slots=True)
class Pose:
    """Canonical points x to px: ``matrix @ x + shift``. Across the picture any affine way, because
    meshes know depth badly; in depth a turned face."""

    matrix: F64  # (3, 3)
    shift: F64  # (3,)
    turn: F64  # (3, 3) the nearest rotation
    scale: float  # px per eye

    def place(self, points: NDArray[np.floating]) -> F64:
        """Canonical (N, 3) -> px (N, 3)."""
        return np.asarray(points @ self.matrix.T + self.shift)

    def unplace(self, points: NDArray[np.floating]) -> F64:
        """Px (N, 3) -> canonical."""
        return np.asarray((points - self.shift) @ np.linalg.inv(self.matrix).T)

    @property
    def yaw(self) -> float:
        """Radians that the face looks to the picture's right or left."""
        return float(np.arctan2(self.turn[0, 2], self.turn[2, 2]))


def pose_of(points: NDArray[np.floating], canonical: NDArray[np.floating]) -> Pose:
    """The pose in which the still points of a canonical face lie nearest to a mesh: rotation by
    Umeyama 1991, across the picture by least squares."""
    a = np.asarray(canonical[STILL], np.float64)
    b = np.asarray(points[STILL], np.float64)
    middle_a, middle_b = a.mean(0), b.mean(0)
    a, b = a - middle_a, b - middle_b
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * flip) @ vt
    scale = float((s * flip).sum() / np.square(a).sum())
    matrix = scale * turn
    ridge = _FIRM * np.square(a).sum() / 3 * np.eye(3)
    matrix[:2] = np.linalg.solve(a.T @ a + ridge, a.T @ b[:, :2] + ridge @ matrix[:2].T).T
    return Pose(matrix, middle_b - matrix @ middle_a, turn, scale)


def upright(points: NDArray[np.floating]) -> F64:
    """A mesh as a first canonical face: turned by its own eyes, chin and forehead."""
    p = np.asarray(points[: mesh.MESH], np.float64)
    across = p[mesh.LEFT_EYE_OUTER] - p[mesh.RIGHT_EYE_OUTER]
    eyes = float(np.linalg.norm(across))
    x = across / eyes
    down = p[mesh.CHIN] - p[mesh.FOREHEAD]
    y = down - (down @ x) * x
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    middle = (p[mesh.LEFT_EYE_OUTER] + p[mesh.RIGHT_EYE_OUTER]) / 2
    return np.asarray((p - middle) @ axes.T / eyes)


def gap(canonical: NDArray[np.floating]) -> float:
    """How far the lips are apart in the middle, in eyes."""
    three = np.array([[13, 14], [82, 87], [312, 317]])
    return float(np.mean(canonical[three[:, 1], 1] - canonical[three[:, 0], 1]))


def aside(seen: NDArray[np.floating], closed: NDArray[np.floating]) -> F64:
    """How a mouth lies beside where its pose would have it (468, 3): shifted sideways, and tilted.

    Both are canonical. Opening and rounding, which are alike on both sides, do not count.
    """
    lips = RINGS[0]
    off = seen[lips, :2] - closed[lips, :2]
    x = closed[lips, 0] - closed[lips, 0].mean()
    out = np.zeros_like(closed, np.float64)
    out[:, 0] = off[:, 0].mean()
    out[:, 1] = (off[:, 1] @ x) / (x @ x) * (closed[:, 0] - closed[lips, 0].mean())
    return out


def closed(canonical: NDArray[np.floating]) -> F64:
    """The face with its lips brought together: the lower lip rises, and half as much the chin."""
    out = np.array(canonical, np.float64)
    inner = ordered_inner()
    lower, upper = inner[1:10], inner[11:20][::-1]
    lift = out[lower, 1] - out[upper, 1]  # (9,) from right to left
    for ring in range(4):
        out[RINGS[ring, 1:10], 1] -= lift
    middle = float(lift[3:6].mean())
    below = np.clip((out[:, 1] - out[17, 1]) / max(out[152, 1] - out[17, 1], 1e-6), 0, 1)
    near = np.clip(1 - np.abs(out[:, 0]) / 0.45, 0, 1)
    chin = (out[:, 1] > out[17, 1]) & ~np.isin(np.arange(len(out)), RINGS)
    out[chin, 1] -= (middle * near * (1 - 0.5 * below))[chin]
    return out
