"""Catmull-Clark subdivision as one sparse matrix, and the cage whose surface meets given points.

The decoder draws the coarse body mesh; a portrait must show a smooth surface that passes through
the same vertices, or landmarks would shrink away from what is seen. So the control cage is solved
such that the subdivided surface interpolates the body's vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Subdivision:
    """``matrix`` (M, N) takes coarse vertices to dense ones; ``faces`` (F, 4) index the dense."""

    matrix: sparse.csr_matrix
    faces: Ints
    parent: Ints  # dense face -> coarse face

    def smooth(self, values: Floats) -> Floats:
        """Subdivide any per-vertex values (N, K) -> (M, K)."""
        return np.asarray(self.matrix @ values, np.float32)

    def through(self, vertices: Floats, rounds: int = 4) -> Floats:
        """The dense surface (M, 3) that passes (nearly) through the coarse ``vertices`` (N, 3)."""
        cage = vertices.astype(np.float64)
        own = self.matrix[: len(vertices)]
        for _ in range(rounds):
            cage += 0.9 * (vertices - own @ cage)
        return np.asarray(self.matrix @ cage, np.float32)


def subdivide(faces: Ints, count: int, levels: int) -> Subdivision:
    """``levels`` of Catmull-Clark on ``faces`` (F, 4; -1 in the last place marks a triangle)."""
    matrix: sparse.csr_matrix = sparse.identity(count, format="csr")
    parent = np.arange(len(faces), dtype=np.int32)
    for _ in range(levels):
        step, faces, of = _once(faces, matrix.shape[0])
        matrix, parent = (step @ matrix).tocsr(), parent[of]
    return Subdivision(matrix, faces.astype(np.int32), parent)


def _once(faces: Ints, count: int) -> tuple[sparse.csr_matrix, Ints, Ints]:
    face, corner, following = _corners(faces)
    low, high = np.minimum(corner, following), np.maximum(corner, following)
    edges, edge_of, uses = np.unique(
        np.stack([low, high], 1), axis=0, return_inverse=True, return_counts=True
    )
    edge_of = edge_of.reshape(-1)
    to_face = _mean_rows(face, corner, len(faces), count)
    middle = _mean_rows(np.repeat(np.arange(len(edges)), 2), edges.reshape(-1), len(edges), count)
    around = _mean_rows(edge_of, face, len(edges), len(faces)) @ to_face
    inner = sparse.diags((uses == 2).astype(float))
    to_edge = middle + inner @ (0.5 * (around - middle))
    to_vertex = _vertex_rule(count, corner, face, edges, uses, to_face, middle)
    quads = _split(face, corner, edge_of, count, len(edges))
    return sparse.vstack([to_vertex, to_edge, to_face]).tocsr(), quads, face.astype(np.int32)


def _corners(faces: Ints) -> tuple[Ints, Ints, Ints]:
    sizes = np.where(faces[:, 3] < 0, 3, 4)
    face = np.repeat(np.arange(len(faces)), sizes)
    slot = np.arange(len(face)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    corner = faces[face, slot]
    following = faces[face, (slot + 1) % sizes[face]]
    return face, corner, following


def _mean_rows(rows: Ints, columns: Ints, height: int, width: int) -> sparse.csr_matrix:
    ones = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(height, width))
    total = np.maximum(np.asarray(ones.sum(1)).reshape(-1), 1)
    return (sparse.diags(1 / total) @ ones).tocsr()


def _vertex_rule(
    count: int,
    corner: Ints,
    face: Ints,
    edges: Ints,
    uses: Ints,
    to_face: sparse.csr_matrix,
    middle: sparse.csr_matrix,
) -> sparse.csr_matrix:
    """(F + 2R + (n-3)V)/n inside; (6V + neighbours)/8 on a rim; isolated vertices stay."""
    both, rows = edges.reshape(-1), np.repeat(np.arange(len(edges)), 2)
    valence = np.bincount(both, minlength=count)
    rim = np.bincount(both[np.repeat(uses != 2, 2)], minlength=count)
    faces_mean = _mean_rows(corner, face, count, to_face.shape[0]) @ to_face
    edges_mean = _mean_rows(both, rows, count, len(edges)) @ middle
    n = np.maximum(valence, 1)
    smooth = (rim == 0) & (valence >= 3)
    border = rim == 2
    on_rim = np.repeat(uses != 2, 2)
    rim_mean = _mean_rows(both[on_rim], rows[on_rim], count, len(edges)) @ middle
    keep = np.where(smooth, (n - 3) / n, np.where(border, 0.5, 1.0))
    return (
        sparse.diags(np.where(smooth, 1 / n, 0)) @ faces_mean
        + sparse.diags(np.where(smooth, 2 / n, 0)) @ edges_mean
        + sparse.diags(np.where(border, 0.5, 0)) @ rim_mean
        + sparse.diags(keep)
    ).tocsr()


def _split(face: Ints, corner: Ints, edge_of: Ints, count: int, edges: int) -> Ints:
    """Every corner becomes a quad: corner, its edge, the face's centre, the edge before."""
    first = np.concatenate([[True], face[1:] != face[:-1]])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(face)) - 1
    before = np.arange(len(face)) - 1
    before[starts] = ends
    return np.stack(
        [corner, count + edge_of, count + edges + face, count + edge_of[before]], 1
    ).astype(np.int32)


def normals(vertices: Floats, faces: Ints) -> Floats:
    """Unit vertex normals (N, 3) of a quad (or, with -1, triangle) mesh."""
    last = np.where(faces[:, 3] < 0, faces[:, 2], faces[:, 3])
    across = vertices[faces[:, 2]] - vertices[faces[:, 0]]
    other = vertices[last] - vertices[faces[:, 1]]
    flat = np.where(
        (faces[:, 3] < 0)[:, None],
        np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], across),
        np.cross(across, other),
    )
    out = np.zeros((len(vertices), 3), np.float64)
    for k in range(4):
        np.add.at(out, np.where(faces[:, k] < 0, faces[:, 0], faces[:, k]), flat)
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)
