"""Compiled kernels that turn a body state into vertices: no names here, only arrays.

B bones, N vertices, U sparse face units, R rotation rows. A bone's rotation is a product of
exponentials: rows of one group add their axes, groups multiply in order. All kernels release
the GIL and keep nothing between calls, so that threads may share a person.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]


@numba.njit(cache=True, nogil=True, fastmath=True)
def multiply(left: F64, right: F64, out: F64) -> None:
    """out = left @ right for 3x3 matrices; out must be neither."""
    for i in range(3):
        for j in range(3):
            out[i, j] = left[i, 0] * right[0, j] + left[i, 1] * right[1, j]
            out[i, j] += left[i, 2] * right[2, j]


@numba.njit(cache=True, nogil=True, fastmath=True)
def rotation(x: float, y: float, z: float, out: F64) -> None:
    """The 3x3 matrix of a rotation vector (Rodrigues)."""
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < 1e-9:
        s, c = 1.0, 0.5
    else:
        s, c = math.sin(angle) / angle, (1.0 - math.cos(angle)) / (angle * angle)
    out[0, 0] = 1.0 - c * (y * y + z * z)
    out[1, 1] = 1.0 - c * (x * x + z * z)
    out[2, 2] = 1.0 - c * (x * x + y * y)
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@numba.njit(cache=True, nogil=True, fastmath=True)
def pose_bones(
    state: F32,
    parents: I32,  # (B,) parents come first; -1 for the root
    joints: F64,  # (B, 3) where bones turn at the zero state
    zero: F64,  # (B, 3, 4) rest -> zero state
    row_start: I32,  # (B + 1,)
    row_group: I32,  # (R,)
    row_state: I32,  # (R,)
    row_axis: F64,  # (R, 3) axis times gain
    out: F32,  # (B, 12) rest -> posed
) -> None:
    """Bone transforms of a state."""
    turn = np.empty((len(parents), 3, 4))  # zero state -> posed
    local, step, product = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for b in range(len(parents)):
        rotation(0.0, 0.0, 0.0, local)
        row = row_start[b]
        while row < row_start[b + 1]:
            group = row_group[row]
            x = y = z = 0.0
            while row < row_start[b + 1] and row_group[row] == group:
                value = state[row_state[row]]
                x += value * row_axis[row, 0]
                y += value * row_axis[row, 1]
                z += value * row_axis[row, 2]
                row += 1
            if x != 0.0 or y != 0.0 or z != 0.0:
                rotation(x, y, z, step)
                multiply(local, step, product)
                local[:] = product
        p = parents[b]
        if p < 0:
            turn[b, :, :3] = local
            for i in range(3):
                turn[b, i, 3] = joints[b, i]
        else:
            multiply(turn[p, :, :3], local, product)
            turn[b, :, :3] = product
            for i in range(3):
                turn[b, i, 3] = turn[p, i, 3]
                for k in range(3):
                    turn[b, i, 3] += turn[p, i, k] * joints[b, k]
        for i in range(3):
            for k in range(3):
                turn[b, i, 3] -= turn[b, i, k] * joints[b, k]
        for i in range(3):
            for j in range(4):
                value = turn[b, i, 3] if j == 3 else 0.0
                for k in range(3):
                    value += turn[b, i, k] * zero[b, k, j]
                out[b, 4 * i + j] = value


@numba.njit(cache=True, nogil=True, fastmath=True)
def pose_vertices(
    rest: F32,  # (N, 3)
    unit_weight: F32,  # (U,)
    unit_start: I32,  # (U + 1,)
    unit_index: I32,
    unit_offset: F32,  # (K, 3) metres
    bone: NDArray[np.uint8],  # (N, 4)
    weight: F32,  # (N, 4) descending
    transforms: F32,  # (B, 12)
    sway: F32,  # (N,) how far a vertex follows the root
    root: F32,  # (3,)
    out: F32,  # (N, 3)
) -> None:
    """Rest surface + sparse units, skinned, swayed with the feet planted."""
    out[:] = rest
    for u in range(len(unit_weight)):
        w = unit_weight[u]
        if w != 0.0:
            for k in range(unit_start[u], unit_start[u + 1]):
                v = unit_index[k]
                out[v, 0] += w * unit_offset[k, 0]
                out[v, 1] += w * unit_offset[k, 1]
                out[v, 2] += w * unit_offset[k, 2]
    for v in range(len(out)):
        x, y, z = out[v, 0], out[v, 1], out[v, 2]
        s = sway[v]
        px, py, pz = s * root[0], s * root[1], s * root[2]
        for k in range(4):
            w = weight[v, k]
            if w == 0.0:
                break
            t = transforms[bone[v, k]]
            px += w * (t[0] * x + t[1] * y + t[2] * z + t[3])
            py += w * (t[4] * x + t[5] * y + t[6] * z + t[7])
            pz += w * (t[8] * x + t[9] * y + t[10] * z + t[11])
        out[v, 0], out[v, 1], out[v, 2] = px, py, pz


@numba.njit(cache=True, nogil=True, fastmath=True)
def vertex_normals(vertices: F32, faces: I32, out: F32) -> None:
    """Area-weighted unit normals (N, 3); zero where no face touches a vertex."""
    out[:] = 0.0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx, vy = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for v in range(len(out)):
        x, y, z = out[v, 0], out[v, 1], out[v, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            out[v, 0], out[v, 1], out[v, 2] = x / length, y / length, z / length
