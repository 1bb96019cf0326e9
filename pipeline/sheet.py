"""The sheet: what the body does not explain (loose hair, a wide sleeve), as a warped picture.

A regular grid of quads over the foreground that the mesh leaves uncovered, drawn between the
background and the mesh. Its nodes follow points of the surface that lie near them in the picture:
each node moves rigidly with a smooth average of its points (moving least squares, Schaefer et
al. 2006, with the scale held near one), so hair at the temple turns with the head, hair on the
shoulder stays with the shoulder, and what is between stretches without tearing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.raster import COMPILED
from pipeline.shade import bilinear

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

CELL: Final = 8.0  # px a side, in a picture of 512
_POINTS: Final = 14  # surface points that a node follows
_SPREAD: Final = 10.0  # px between surface points, in a picture of 512
_SOFT: Final = 6.0  # px within which points weigh alike, in a picture of 512
_SCALE: Final = (0.85, 1.15)  # how far a node's neighbourhood may shrink and grow
_REST: Final = 150.0  # px from the body at which an elastic sheet rests, in a picture of 512
_TORN: Final = (1.6, 2.6)  # a quad fades as it is stretched from the first to the second


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
) -> Sheet:
    """A sheet over the cells where something is ``wanted``, and their neighbours.

    ``alpha`` and ``wanted`` have the texture's size; ``points`` (R, 3) are the surface's rows in
    output px, of which only those that are ``sure`` (R,) > 0.5 are followed. With a ``body`` mask
    of the texture's size the sheet is elastic: it does not tear, and away from the body it rests.
    """
    unit = height / 512
    cell = CELL * unit
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


@njit(**COMPILED)
def _move(nodes, rows, weights, anchors, grip, vertices, out):  # type: ignore[no-untyped-def]
    """Node positions (M, 2) as the rows of ``vertices`` (x, y in front) have moved."""
    low, high = np.float32(_SCALE[0]), np.float32(_SCALE[1])
    for m in range(nodes.shape[0]):
        px = py = qx = qy = np.float32(0.0)
        for k in range(rows.shape[1]):
            w, r = weights[m, k], rows[m, k]
            px += w * anchors[m, k, 0]
            py += w * anchors[m, k, 1]
            qx += w * vertices[r, 0]
            qy += w * vertices[r, 1]
        cos = sin = size = np.float32(0.0)
        for k in range(rows.shape[1]):
            w, r = weights[m, k], rows[m, k]
            ax, ay = anchors[m, k, 0] - px, anchors[m, k, 1] - py
            bx, by = vertices[r, 0] - qx, vertices[r, 1] - qy
            cos += w * (ax * bx + ay * by)
            sin += w * (ax * by - ay * bx)
            size += w * (ax * ax + ay * ay)
        length = max(np.sqrt(cos * cos + sin * sin), np.float32(1e-6))
        scale = min(max(length / max(size, np.float32(1e-6)), low), high) / length
        dx, dy = nodes[m, 0] - px, nodes[m, 1] - py
        x, y = qx + scale * (cos * dx - sin * dy), qy + scale * (sin * dx + cos * dy)
        out[m, 0] = nodes[m, 0] + grip[m] * (x - nodes[m, 0])
        out[m, 1] = nodes[m, 1] + grip[m] * (y - nodes[m, 1])


@njit(**COMPILED)
def _stretch(nodes, moved, quads, q):  # type: ignore[no-untyped-def]
    """The longest of a quad's edges against what it was."""
    a, b, c, d = quads[q, 0], quads[q, 1], quads[q, 2], quads[q, 3]
    cell = nodes[b, 0] - nodes[a, 0]
    worst = np.float32(0.0)
    for i, j in ((a, b), (c, d), (a, c), (b, d)):
        dx, dy = moved[i, 0] - moved[j, 0], moved[i, 1] - moved[j, 1]
        worst = max(worst, dx * dx + dy * dy)
    return np.sqrt(worst) / cell


@njit(inline="always")
def _edge(ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Edge a -> b as slopes and offset, positive inside; one triangle only owns what lies on it."""
    dx, dy = bx - ax, by - ay
    tiny = np.float32(1.0 / 1024.0)
    owned = dy < 0.0 or (dy == 0.0 and dx > 0.0)
    return -dy, dx, dy * ax - dx * ay + (tiny if owned else -tiny)


@njit(**COMPILED)
def _triangle(texture, wide, high, texels, nodes, moved, a, b, c, fade, out):  # type: ignore[no-untyped-def]
    """Blend one textured triangle over ``out``; corners are rounded to 1/16 px."""
    grid, half = np.float32(16.0), np.float32(0.5)
    ax, ay = np.rint(moved[a, 0] * grid) / grid, np.rint(moved[a, 1] * grid) / grid
    bx, by = np.rint(moved[b, 0] * grid) / grid, np.rint(moved[b, 1] * grid) / grid
    cx, cy = np.rint(moved[c, 0] * grid) / grid, np.rint(moved[c, 1] * grid) / grid
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    x0, x1 = max(0, int(min(ax, bx, cx))), min(out.shape[1] - 1, int(max(ax, bx, cx)))
    y0, y1 = max(0, int(min(ay, by, cy))), min(out.shape[0] - 1, int(max(ay, by, cy)))
    if area <= 0.0 or x0 > x1 or y0 > y1:
        return
    u0, v0, w0 = _edge(bx, by, cx, cy)
    u1, v1, w1 = _edge(cx, cy, ax, ay)
    u2, v2, w2 = _edge(ax, ay, bx, by)
    k = texels / area
    s0, s1, s2 = k * nodes[a, 0], k * nodes[b, 0], k * nodes[c, 0]
    t0, t1, t2 = k * nodes[a, 1], k * nodes[b, 1], k * nodes[c, 1]
    for y in range(y0, y1 + 1):
        px, py = np.float32(np.int32(x0)) + half, np.float32(np.int32(y)) + half
        e0, e1, e2 = u0 * px + v0 * py + w0, u1 * px + v1 * py + w1, u2 * px + v2 * py + w2
        for x in range(x0, x1 + 1):
            if min(e0, e1, e2) > 0.0:
                u, v = s0 * e0 + s1 * e1 + s2 * e2, t0 * e0 + t1 * e1 + t2 * e2
                _blend(texture, wide, high, u, v, fade, out, np.uint64(y), np.uint64(x))
            e0, e1, e2 = e0 + u0, e1 + u1, e2 + u2


@njit(inline="always")
def _blend(texture, wide, high, u, v, fade, out, y, x):  # type: ignore[no-untyped-def]
    red, green, blue, alpha = bilinear(texture, wide, high, u, v)
    alpha *= fade
    if alpha > np.float32(0.004):
        half = np.float32(0.5)
        r, g, b = np.float32(out[y, x, 0]), np.float32(out[y, x, 1]), np.float32(out[y, x, 2])
        out[y, x, 0] = np.uint8(np.int32(r + alpha * (red - r) + half))
        out[y, x, 1] = np.uint8(np.int32(g + alpha * (green - g) + half))
        out[y, x, 2] = np.uint8(np.int32(b + alpha * (blue - b) + half))


@njit(**COMPILED)
def _draw(texture, wide, high, texels, nodes, quads, moved, tears, out):  # type: ignore[no-untyped-def]
    whole, torn = np.float32(_TORN[0]), np.float32(_TORN[1])
    for q in range(quads.shape[0]):
        stretch = _stretch(nodes, moved, quads, q)
        fade = min(max((torn - stretch) / (torn - whole), np.float32(0.0)), np.float32(1.0))
        fade = fade if tears else np.float32(1.0)
        if fade > 0.0:
            a, b, c, d = quads[q, 0], quads[q, 1], quads[q, 2], quads[q, 3]
            fade /= np.float32(255.0)
            _triangle(texture, wide, high, texels, nodes, moved, a, b, c, fade, out)
            _triangle(texture, wide, high, texels, nodes, moved, b, d, c, fade, out)


def draw(sheet: Sheet, vertices: F32, moved: F32, out: NDArray[np.uint8]) -> None:
    """Draw the sheet over ``out`` (H, W, 3) as the rows of ``vertices`` stand now.

    ``moved`` (M, 2) is scratch memory.
    """
    if sheet.empty:
        return
    _move(
        sheet.nodes, sheet.rows, sheet.weights, sheet.anchors, sheet.grip, vertices, moved
    )  # fmt: skip
    high, wide = sheet.texture.shape
    texture, texels = sheet.texture.reshape(-1), np.float32(sheet.texels)
    _draw(texture, wide, high, texels, sheet.nodes, sheet.quads, moved, sheet.tears, out)
