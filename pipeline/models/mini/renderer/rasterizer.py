"""Which triangle is seen at every sample of a picture: a z-buffer in compiled code.

Four samples a pixel on a rotated grid, so that silhouettes of any slope come out with five
levels of coverage. Edges are evaluated on a 1/32 px lattice, exactly for triangles up to 64 px:
a closed mesh has no cracks and no sample is claimed by two neighbours, so the order of triangles
does not matter. A sample is one word, *depth above owner*, so that the nearest claim is a minimum
and half the memory of two tables is touched. Sixteen samples, of two by two pixels, are tested at a
time without a branch, which is what lets the compiler use vector instructions. Kernels release
the GIL and use one thread.

Triangles are sorted into bands of rows, so that a frame can be drawn band by band with a buffer
that stays in the cache; ``rasterise`` draws one band as high as the picture.

Pixel (0, 0) has its centre at (0.5, 0.5); y points down; smaller depth is nearer.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

SAMPLES: Final = 4
BLOCK: Final = 16  # samples of two by two pixels, which lie together
FAR: Final = np.float32(1e30)
NEAR: Final = np.float32(0.02)
OWNER_BITS: Final = 16
OWNER: Final = np.int32((1 << OWNER_BITS) - 1)
EMPTY: Final = np.int32(2**31 - 1)
COMPILED: Final[dict[str, Any]] = {
    "nogil": True,
    "cache": True,
    "fastmath": True,
    "error_model": "numpy",
}

_CELL = np.float32(32.0)  # lattice steps a pixel
_SPACING = np.float32(8.0)  # lattice steps between columns, and rows, that have samples ...
_FIRST = np.float32(4.0)  # ... of which this is the first
_BLOCK_SHIFT: Final = 3  # so many powers of two of them in a block
_EDGE_OF_WORLD = np.float32(1 << 22)  # lattice steps beyond which no vertex goes
_DEPTHS = np.float32(64000.0 * 65536.0 / 2)  # the range of depth, in words: some room is left
_BEHIND = np.float32(-3e9)  # the depth word of what is too near to be drawn
# Where the samples of a block lie, in lattice steps from its corner.
_LANE_X = np.array([32 * x + s for _ in "01" for x in (0, 1) for s in (12, 28, 20, 4)], np.float32)
_LANE_Y = np.array([32 * y + s for y in (0, 1) for _ in "01" for s in (4, 12, 28, 20)], np.float32)

Bounds = tuple[int, int, int, int]  # top, bottom, left, right; half open


class Triangles:
    """The triangles of one picture that may be seen, by bands of rows; memory to find them with."""

    __slots__ = ("bands", "bounds", "boxes", "drawn", "places", "range", "shift", "starts")

    def __init__(self, height: int, faces: int, shift: int) -> None:
        """``shift`` is the power of two of the lines of blocks that make a band."""
        if faces > OWNER:
            raise ValueError(f"at most {OWNER} triangles can be drawn, got {faces}")
        self.shift, self.bands = shift, (((height + 1) // 2 - 1) >> shift) + 1
        self.bounds: Bounds = (0, 0, 0, 0)
        self.range = (0.0, 1.0)  # of depth
        self.places = np.empty((0, 3), np.float32)
        self.boxes = np.empty((faces, 4), np.int16)
        self.drawn = np.empty(faces * (1 + self.bands), np.int32)  # costs what is written to
        self.starts = np.zeros(self.bands + 2, np.int64)

    @property
    def lists(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """What :func:`draw_band` wants."""
        return self.places, self.drawn, self.boxes, self.starts

    def words_of(self, depth: float) -> int:
        """So many metres of depth as a difference of words."""
        near, far = self.range
        return int(min(depth * 2 * float(_DEPTHS) / (far - near), 2.0**32))

    def find(
        self,
        points: NDArray[np.float32],
        faces: NDArray[np.int32],
        two_sided: NDArray[np.bool_],
        width: int,
        height: int,
    ) -> None:
        """List the triangles that may be seen of a surface, as :func:`rasterise` says."""
        if len(self.places) < len(points):
            self.places = np.empty((len(points), 3), np.float32)
        self.bounds, self.range = _bounds(points, height, width)
        _to_lattice(points, self.range, self.places)
        _sort(
            self.places, faces, two_sided, self.bounds, self.shift, self.bands,
            self.drawn, self.boxes, self.starts,
        )  # fmt: skip


class Buffer:
    """The nearest claim on every sample, block by block."""

    __slots__ = ("across", "height", "keys", "range", "width")

    def __init__(self, width: int, height: int) -> None:
        if min(width, height) < 1 or max(width, height) > 8192:
            raise ValueError(f"a picture is 1 to 8192 px a side, got {width} x {height}")
        self.width, self.height, self.across = width, height, (width + 1) // 2
        self.keys = _aligned((height + 1) // 2 * self.across)
        self.range = (0.0, 1.0)  # of depth

    def _view(self) -> NDArray[np.int32]:
        high, across = (self.height + 1) // 2, self.across
        blocks = self.keys.reshape(high, across, 2, 2, SAMPLES).transpose(0, 2, 1, 3, 4)
        return blocks.reshape(2 * high, 2 * across, SAMPLES)[: self.height, : self.width]

    def depth_map(self) -> NDArray[np.float32]:
        """(H, W, 4) depth of the samples, FAR where nothing was drawn."""
        keys, (near, far) = self._view(), self.range
        words = (keys & ~OWNER).astype(np.float32) + np.float32(1 << (OWNER_BITS - 1))
        depth = np.float32((near + far) / 2) + words * np.float32((far - near) / (2 * _DEPTHS))
        return np.where(keys == EMPTY, FAR, depth)

    def face_map(self) -> NDArray[np.int32]:
        """(H, W, 4) index of the visible triangle, -1 where nothing was drawn."""
        keys = self._view()
        return np.where(keys == EMPTY, np.int32(-1), keys & OWNER)


def _aligned(count: int) -> NDArray[np.int32]:
    """Empty samples; no block crosses a cache line."""
    line = 4 * BLOCK
    flat = np.empty((count + 1) * line, np.uint8)
    start = -flat.ctypes.data % line
    keys = flat[start : start + count * line].view(np.int32).reshape(count, BLOCK)
    keys[:] = EMPTY
    return keys


@njit(**COMPILED)
def _bounds(points, height, width):  # type: ignore[no-untyped-def]
    """The box of pixels that points (N, >= 3) span, empty when they are all outside, and the
    range of their depths."""
    x0, x1 = np.float32(1e9), np.float32(-1e9)
    y0, y1, z0, z1 = x0, x1, x0, NEAR
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], max(points[i, 2], NEAR)
        x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        z0, z1 = min(z0, z), max(z1, z)
    top, left = min(max(0, int(y0) - 1), height), min(max(0, int(x0) - 1), width)
    bottom, right = max(top, min(height, int(y1) + 2)), max(left, min(width, int(x1) + 2))
    return (top, bottom, left, right), (z0, max(z1, z0 + np.float32(1e-3)))


@njit(**COMPILED)
def _to_lattice(points, depths, places):  # type: ignore[no-untyped-def]
    """Vertices on the lattice, with depth as a word."""
    z0, z1 = depths
    middle, fine = np.float32(0.5) * (z0 + z1), np.float32(2.0) * _DEPTHS / (z1 - z0)
    for i in range(points.shape[0]):
        x, y = np.rint(points[i, 0] * _CELL), np.rint(points[i, 1] * _CELL)
        places[i, 0] = min(max(x, -_EDGE_OF_WORLD), _EDGE_OF_WORLD)
        places[i, 1] = min(max(y, -_EDGE_OF_WORLD), _EDGE_OF_WORLD)
        z = points[i, 2]
        places[i, 2] = (z - middle) * fine if z >= NEAR else _BEHIND


@njit(**COMPILED)
def clear(samples, lines, left, right):  # type: ignore[no-untyped-def]
    """Empty the first lines of blocks from block column ``left`` up to ``right``."""
    keys, across = samples
    for j in range(lines):
        for i in range(j * across + left, j * across + right):
            for lane in range(BLOCK):
                keys[np.uint64(i), lane] = EMPTY


@njit(**COMPILED)
def _first_column(x):  # type: ignore[no-untyped-def]
    return np.int32(np.ceil((x - _FIRST) / _SPACING))


@njit(**COMPILED)
def _last_column(x):  # type: ignore[no-untyped-def]
    return np.int32(np.floor((x - _FIRST) / _SPACING))


@njit(**COMPILED)
def _cull(places, faces, two_sided, bounds, drawn, boxes):  # type: ignore[no-untyped-def]
    """List the triangles that face the viewer and span a sample, with their boxes of blocks."""
    top, bottom, left, right = bounds
    most_x, most_y = np.int32((right - 1) >> 1), np.int32((bottom - 1) >> 1)
    least_x, least_y = np.int32(left >> 1), np.int32(top >> 1)
    n = 0
    for f in range(faces.shape[0]):
        a, b, c = np.uint64(faces[f, 0]), np.uint64(faces[f, 1]), np.uint64(faces[f, 2])
        ax, ay, bx, by, cx, cy = (
            places[a, 0], places[a, 1], places[b, 0], places[b, 1], places[c, 0], places[c, 1],
        )  # fmt: skip
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        faces_us = (area < np.float32(0.0)) | (two_sided[f] & (area > np.float32(0.0)))
        before = min(places[a, 2], places[b, 2], places[c, 2]) > _BEHIND
        x0, x1 = _first_column(min(ax, bx, cx)), _last_column(max(ax, bx, cx))
        y0, y1 = _first_column(min(ay, by, cy)), _last_column(max(ay, by, cy))
        spans = (x0 <= x1) & (y0 <= y1)
        x0, x1 = max(x0 >> _BLOCK_SHIFT, least_x), min(x1 >> _BLOCK_SHIFT, most_x)
        y0, y1 = max(y0 >> _BLOCK_SHIFT, least_y), min(y1 >> _BLOCK_SHIFT, most_y)
        drawn[n] = f
        boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = x0, x1, y0, y1
        n += faces_us & before & spans & (x0 <= x1) & (y0 <= y1)
    return n


@njit(**COMPILED)
def _sort(places, faces, two_sided, bounds, shift, bands, drawn, boxes, starts):  # type: ignore[no-untyped-def]
    """List the triangles of each band one after the other, behind the list of all."""
    count = _cull(places, faces, two_sided, bounds, drawn, boxes)
    starts[:] = 0
    for n in range(count):
        f = np.uint64(drawn[n])
        for k in range(boxes[f, 2] >> shift, (boxes[f, 3] >> shift) + 1):
            starts[k + 2] += 1
    starts[0] = starts[1] = faces.shape[0]
    for k in range(bands):
        starts[k + 2] += starts[k + 1]
    for n in range(count):
        f = np.uint64(drawn[n])
        for k in range(boxes[f, 2] >> shift, (boxes[f, 3] >> shift) + 1):
            drawn[starts[k + 1]] = f
            starts[k + 1] += 1


@njit(**COMPILED)
def _edge(ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Edge a -> b as slopes and offset, positive inside.

    Values on the lattice are whole, so half a unit decides who owns a sample right on the edge:
    the triangle for which the edge is a top or a left one.
    """
    dx, dy = bx - ax, by - ay
    half = np.float32(0.5)
    owned = dy < 0.0 or (dy == 0.0 and dx > 0.0)
    return -dy, dx, dy * ax - dx * ay + (half if owned else -half)


@njit(inline="always")
def _claim(keys, at, blocks, plane, mark):  # type: ignore[no-untyped-def]
    """Claim the samples of a row of blocks that are inside all edges and nearer than others."""
    u0, v0, e0, u1, v1, e1, u2, v2, e2, zx, zy, z = plane
    wide = np.float32(2.0) * _CELL
    for _ in range(blocks):
        for lane in range(BLOCK):
            x, y = _LANE_X[lane], _LANE_Y[lane]
            a, b, c = e0 + (u0 * x + v0 * y), e1 + (u1 * x + v1 * y), e2 + (u2 * x + v2 * y)
            word = np.int32(np.int32(z + (zx * x + zy * y)) & ~OWNER)
            key = np.int32(word | mark) if min(a, b, c) > np.float32(0.0) else EMPTY
            old = keys[at, lane]
            keys[at, lane] = key if key < old else old
        e0, e1, e2, z = e0 + u0 * wide, e1 + u1 * wide, e2 + u2 * wide, z + zx * wide
        at += np.uint64(1)


@njit(inline="always")
def _triangle(keys, across, box, corners, area, mark):  # type: ignore[no-untyped-def]
    """Claim the samples of one triangle; corners on the lattice, counted from the box's corner."""
    x0, x1, y0, y1 = box
    ax, ay, az, bx, by, bz, cx, cy, cz = corners
    u0, v0, e0 = _edge(bx, by, cx, cy)
    u1, v1, e1 = _edge(cx, cy, ax, ay)
    u2, v2, e2 = _edge(ax, ay, bx, by)
    scale = np.float32(1.0) / area
    zx = ((bz - az) * (cy - ay) - (cz - az) * (by - ay)) * scale
    zy = ((cz - az) * (bx - ax) - (bz - az) * (cx - ax)) * scale
    z, high = az - zx * ax - zy * ay, np.float32(2.0) * _CELL
    at, blocks = np.uint64(y0 * across + x0), x1 - x0 + 1
    for _ in range(y1 - y0 + 1):
        _claim(keys, at, blocks, (u0, v0, e0, u1, v1, e1, u2, v2, e2, zx, zy, z), mark)
        e0, e1, e2, z = e0 + v0 * high, e1 + v1 * high, e2 + v2 * high, z + zy * high
        at += np.uint64(across)


@njit(**COMPILED)
def draw_band(found, faces, k, shift, samples):  # type: ignore[no-untyped-def]
    """Claim the samples of band ``k``, whose first line of blocks is the first of ``samples``.

    ``found`` are the lists of Triangles, ``samples`` the keys and the width of a Buffer.
    """
    places, drawn, boxes, starts = found
    keys, across = samples
    first, last = k << shift, ((k + 1) << shift) - 1
    for n in range(starts[k], starts[k + 1]):
        f = np.uint64(drawn[n])
        a, b, c = np.uint64(faces[f, 0]), np.uint64(faces[f, 1]), np.uint64(faces[f, 2])
        x0, x1 = np.int64(boxes[f, 0]), np.int64(boxes[f, 1])
        y0, y1 = max(np.int64(boxes[f, 2]), first), min(np.int64(boxes[f, 3]), last)
        ox, oy = np.float32(x0 * 64), np.float32(y0 * 64)
        ax, ay, az = places[a, 0] - ox, places[a, 1] - oy, places[a, 2]
        bx, by, bz = places[b, 0] - ox, places[b, 1] - oy, places[b, 2]
        cx, cy, cz = places[c, 0] - ox, places[c, 1] - oy, places[c, 2]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area < 0.0:
            bx, by, bz, cx, cy, cz, area = cx, cy, cz, bx, by, bz, -area
        corners = (ax, ay, az, bx, by, bz, cx, cy, cz)
        box = (x0, x1, y0 - first, y1 - first)
        _triangle(keys, across, box, corners, area, np.int32(f))


def rasterise(
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
    two_sided: NDArray[np.bool_],
    buffer: Buffer,
) -> Bounds:
    """Find the nearest triangle at every sample; returns the box of pixels that was touched.

    ``points`` (N, >= 3) are x px, y px, depth. Triangles that wind counter-clockwise as one sees
    them face the viewer; others are dropped unless two-sided. Depth is told apart in 64,000 steps
    of the points' range. Outside the box the buffer is empty.
    """
    high = (buffer.height + 1) // 2
    found = Triangles(buffer.height, len(faces), high.bit_length())
    found.find(points, faces, two_sided, buffer.width, buffer.height)
    buffer.range = found.range
    samples = (buffer.keys, buffer.across)
    clear(samples, high, 0, buffer.across)
    draw_band(found.lists, faces, 0, found.shift, samples)
    return found.bounds
