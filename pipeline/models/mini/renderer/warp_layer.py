"""The warped layer: what the body does not explain (loose hair, a wide sleeve).

A regular grid of quads over the foreground that the mesh leaves uncovered, drawn between the
background and the mesh. Its nodes follow nearby points of the surface: each node moves rigidly with
a smooth average of its points (moving least squares, Schaefer et al. 2006, with the scale held near
one). So hair at the temple turns with the head, hair on the shoulder stays with the shoulder, and
what is between stretches without tearing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

CELL: Final = 8.0  # px a side, in a picture of 512
_POINTS: Final = 14  # surface points that a node follows
_SPREAD: Final = 10.0  # px between surface points, in a picture of 512
_SOFT: Final = 6.0  # px within which points weigh alike, in a picture of 512
_REST: Final = 150.0  # px from the body at which an elastic sheet rests, in a picture of 512


@dataclass(frozen=True, slots=True)
class Sheet:
    """M nodes, Q quads, K points a node. Positions are px of the output."""

    texture: NDArray[np.uint32]  # (H, W) packed RGBA; alpha is the foreground
    texels: float  # texture px per output px
    nodes: F32  # (M, 2) where the nodes are in the reference
    quads: I32  # (Q, 4) nodes: upper left, upper right, lower left, lower right
    rows: I32  # (M, K) rows of the surface that the node follows
    weights: F32  # (M, K), summing to one
    anchors: F32  # (M, K, 2) where those rows are in the reference
    grip: F32  # (M,) how far the node follows: 1 on the person, 0 in the background
    tears: bool  # quads fade when they are stretched
    corner: tuple[float, float] = (0.0, 0.0)  # of the texture, px of the output

    @property
    def empty(self) -> bool:
        return len(self.quads) == 0


def build(
    texture: NDArray[np.uint32],
    alpha: F32,
    wanted: NDArray[np.bool_],
    points: F32,
    sure: F32,
    width: int,
    height: int,
    body: NDArray[np.bool_] | None = None,
    *,
    cell: float = CELL,
    also: F32 | None = None,
) -> Sheet:
    """A sheet over the cells where something is ``wanted``, and their neighbours.

    ``alpha`` and ``wanted`` have the texture's size; ``points`` (R, 3) are the surface's rows in
    output px, of which only those that are ``sure`` (R,) > 0.5 are followed. With a ``body`` mask
    of the texture's size the sheet is elastic: it does not tear, and away from the body it rests.
    ``cell`` is a quad's side, px in a picture of 512; ``also`` (2,) is a last node, of no quad.
    """
    unit = height / 512
    cell = cell * unit
    columns, lines = int(np.ceil(width / cell)), int(np.ceil(height / cell))
    texels = texture.shape[0] / height
    on = _cells(wanted, columns, lines, cell * texels)
    on = ndimage.binary_dilation(on, iterations=2) & _cells(
        alpha > 0.02, columns, lines, cell * texels
    )
    line, column = np.nonzero(on)
    corner = line * (columns + 1) + column
    below = corner + columns + 1
    used, quads = np.unique(
        np.stack([corner, corner + 1, below, below + 1], 1), return_inverse=True
    )
    nodes = np.stack([used % (columns + 1), used // (columns + 1)], 1) * cell
    if also is not None:
        nodes = np.concatenate([nodes, also[None]])
    rows = _followed(points, sure, width, height, _SPREAD * unit)
    count = min(_POINTS, len(rows) - 1)
    if len(used) == 0 or count < 3:
        none = np.zeros((0, 0), np.float32)
        return Sheet(
            texture, texels, none.reshape(0, 2), np.zeros((0, 4), np.int32),
            np.zeros((0, 0), np.int32), none, none.reshape(0, 0, 2), none.reshape(0), True,
        )  # fmt: skip
    distance, nearest = cKDTree(points[rows, :2]).query(nodes, count + 1)
    weights = _weights(distance, _SOFT * unit)
    chosen = rows[nearest[:, :count]].astype(np.int32)
    return Sheet(
        texture, texels, nodes.astype(np.float32), quads.reshape(-1, 4).astype(np.int32),
        chosen, weights, np.ascontiguousarray(points[chosen, :2], np.float32),
        _grip(nodes, body, texels, _REST * unit), body is None,
    )  # fmt: skip


def _grip(
    nodes: NDArray[np.float64], body: NDArray[np.bool_] | None, texels: float, rest: float
) -> F32:
    """1 on the body, falling smoothly to 0 at ``rest`` px from it."""
    if body is None:
        return np.ones(len(nodes), np.float32)
    far = ndimage.distance_transform_edt(~body) / texels
    x = np.clip((nodes[:, 0] * texels).astype(int), 0, body.shape[1] - 1)
    y = np.clip((nodes[:, 1] * texels).astype(int), 0, body.shape[0] - 1)
    part = np.clip(1 - far[y, x] / rest, 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def _cells(mask: NDArray[np.bool_], columns: int, lines: int, size: float) -> NDArray[np.bool_]:
    """The grid's cells in which the mask has anything."""
    y, x = np.nonzero(mask)
    out = np.zeros((lines, columns), bool)
    line = np.minimum((y / size).astype(int), lines - 1)
    out[line, np.minimum((x / size).astype(int), columns - 1)] = True
    return out


def _followed(points: F32, sure: F32, width: int, height: int, spread: float) -> NDArray[np.int64]:
    """Rows spread over what is seen of the surface, one for each square of ``spread`` px."""
    inside = (points[:, 0] >= 0) & (points[:, 0] < width) & (points[:, 1] < height)
    rows = np.flatnonzero(inside & (points[:, 1] >= 0) & (sure > 0.5))
    squares = np.floor(points[rows, :2] / spread).astype(int)
    off = np.abs(points[rows, :2] / spread - squares - 0.5).sum(1)
    order = np.lexsort((off, squares[:, 0], squares[:, 1]))
    _, first = np.unique(squares[order], axis=0, return_index=True)
    return np.asarray(np.sort(rows[order[first]]))


def _weights(distance: NDArray[np.float64], soft: float) -> F32:
    """Inverse-distance weights that vanish at the first neighbour left out."""
    limit = distance[:, -1:]
    near = distance[:, :-1]
    weights = np.square(np.maximum(limit - near, 0) / limit) / np.square(near**2 + soft**2)
    weights += 1e-12
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
