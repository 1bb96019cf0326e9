"""Draws a textured surface over a picture: colours for what the z-buffer found visible.

Knows vertices, textures and pixels; nothing of bodies, cameras or people. A vertex takes its colour
from the texture at (U, V) as far as it was SEEN, else at (MIRROR_U, MIRROR_V) as far as that was,
else it is RED, GREEN, BLUE. SHADE multiplies; COVER below 1 lets what is behind the whole
surface show through.

Most pixels lie inside one surface whose texture is known: ``find`` draws those at once, row by row,
from planes that are set up once a triangle. The rest, silhouettes and parts that the picture does
not show, are listed for ``finish``, so that layers behind can be drawn in between.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer import silhouette, texture_sampling
from pipeline.models.mini.renderer.rasterizer import (
    COMPILED,
    EMPTY,
    OWNER,
    OWNER_BITS,
    Bounds,
    Buffer,
    Triangles,
    clear,
    draw_band,
)
from pipeline.models.mini.renderer.silhouette import ROW_SHIFT, Fringe
from pipeline.models.mini.renderer.texture_sampling import (
    CHUNK,
    byte,
    channel,
    corners,
    fetch,
    locate,
    pack,
    slot,
)
from pipeline.models.mini.renderer.vertex_layout import (
    BLUE,
    COVER,
    DEPTH,
    GREEN,
    MIRROR_SEEN,
    MIRROR_U,
    MIRROR_V,
    RED,
    SEEN,
    SHADE,
    VERTEX_WIDTH,
    U,
    V,
    X,
    Y,
    split,
)

__all__ = [
    "BLUE", "COVER", "DEPTH", "GREEN", "MIRROR_SEEN", "MIRROR_U", "MIRROR_V", "RED", "SEEN",
    "SHADE", "VERTEX_WIDTH", "Canvas", "U", "V", "X", "Y", "draw", "find", "finish", "pack",
]  # fmt: skip

_PLANES: Final = (U, V, SEEN, SHADE)  # three coefficients each, then ...
_UNSURE: Final = 12  # ... what is large where planes are not to be trusted
_PLANE_WIDTH: Final = 16  # a cache line
_SURE: Final = np.float32(0.999)
# Slopes a pixel above which a plane is not to be trusted beside its triangle.
_STEEP_TEXELS: Final = np.float32(6.0)
_STEEP: Final = np.float32(0.4)
_BAND_SHIFT: Final = 4  # lines of blocks drawn at a time, two to this: they stay in the cache
_BAND: Final = 2 << _BAND_SHIFT  # rows

# Slots of the tables: floats, then words.
_POSITION, _SHADE, _SEEN = 0, 2, 3
_PIXEL, _OWNER, _TEXEL, _COLOUR = 0, 1, 2, 6


class Canvas:
    """The memory that drawing needs; one for each thread that draws."""

    __slots__ = (
        "buffer", "fringe", "height", "left", "plans", "settled", "tables", "triangles",
    )  # fmt: skip

    def __init__(self, width: int, height: int, faces: int) -> None:
        self.height, self.buffer = height, Buffer(width, _BAND)
        self.triangles = Triangles(height, faces, _BAND_SHIFT)
        self.plans = (  # of one band's triangles, in the order of their use, from row 1
            np.empty((faces + 1, _PLANE_WIDTH), np.float32),
            np.zeros(faces, np.uint16),  # the row of each triangle; 0 for none, as between bands
            np.empty(faces + 1, np.int32),  # the triangle of each row
        )
        self.fringe = Fringe(width, height)
        self.left = 0  # fragments that wait to be finished
        self.settled = np.zeros((height, width), np.bool_)
        self.tables = texture_sampling.tables()


@njit(**COMPILED)
def _set_planes(vertices, faces, f, planes, p):  # type: ignore[no-untyped-def]
    """value = p + q x + r y over the picture, for the attributes of ``_PLANES``."""
    least = np.float32(1e-2)  # of area: slivers get a bounded slope
    a, b, c = (
        vertices[np.uint64(faces[f, 0])], vertices[np.uint64(faces[f, 1])],
        vertices[np.uint64(faces[f, 2])],
    )  # fmt: skip
    bx, by, cx, cy = b[X] - a[X], b[Y] - a[Y], c[X] - a[X], c[Y] - a[Y]
    area = bx * cy - cx * by
    scale = np.float32(1.0) / (min(area, -least) if area < 0.0 else max(area, least))
    unsure = min(a[COVER], b[COVER], c[COVER]) <= _SURE
    for i in range(4):
        k = U + i
        q = ((b[k] - a[k]) * cy - (c[k] - a[k]) * by) * scale
        r = ((c[k] - a[k]) * bx - (b[k] - a[k]) * cx) * scale
        planes[p, 3 * i] = a[k] - q * a[X] - r * a[Y]
        planes[p, 3 * i + 1] = q
        planes[p, 3 * i + 2] = r
        unsure |= abs(q) + abs(r) > (_STEEP_TEXELS if i < 2 else _STEEP)
    planes[p, _UNSURE] = 1e6 if unsure else 0.0


@njit(**COMPILED)
def _plane(planes, f, k, x, y):  # type: ignore[no-untyped-def]
    return planes[f, 3 * k] + planes[f, 3 * k + 1] * x + planes[f, 3 * k + 2] * y


@njit(**COMPILED)
def _claims(keys, across, line, x):  # type: ignore[no-untyped-def]
    """The keys of a pixel's four samples; ``line`` counts from the top of the buffer."""
    at = np.uint64((line >> 1) * across + (x >> 1))
    lane = np.uint64((line & 1) * 8 + (x & 1) * 4)
    one = np.uint64(1)
    return (
        keys[at, lane], keys[at, lane + one],
        keys[at, lane + one + one], keys[at, lane + one + one + one],
    )  # fmt: skip


@njit(**COMPILED)
def _list(pixels, owners, n, pixel, claims):  # type: ignore[no-untyped-def]
    """One fragment for each triangle that owns a sample; returns the length of the list."""
    for s in range(4):
        owner = claims[s] & OWNER
        count, first = 0, claims[s] != EMPTY
        for o in range(4):
            same = (claims[o] != EMPTY) & ((claims[o] & OWNER) == owner)
            count += same
            first &= (o >= s) | (not same)
        if first:
            pixels[np.uint64(n)] = pixel
            owners[np.uint64(n)] = owner | (count << OWNER_BITS)
            n += 1
    return n


@njit(inline="always")
def _scan(samples, groups, step, y, line, left, right, words, rest, n):  # type: ignore[no-untyped-def]
    """List the row's pixels of one surface in the table, and the fragments of the others."""
    keys, across = samples
    m = 0
    for x in range(left, right):
        i, j, k, o = _claims(keys, across, line, x)
        nearest, farthest = min(i, j, k, o), max(i, j, k, o)
        if nearest == EMPTY:
            continue
        if farthest != EMPTY:
            group = groups[np.uint64(i & OWNER)]
            one = (group == groups[np.uint64(j & OWNER)]) & (group == groups[np.uint64(k & OWNER)])
            one &= group == groups[np.uint64(o & OWNER)]
            if one & (np.int64(farthest) - np.int64(nearest) < step):
                words[slot(_PIXEL, m)] = x
                words[slot(_OWNER, m)] = i & OWNER
                m += 1
                continue
        n = _list(rest[0], rest[1], n, np.int32((y << ROW_SHIFT) | x), (i, j, k, o))
    return m, n


@njit(inline="always")
def _interpolate(vertices, faces, plans, last, y, count, floats, words):  # type: ignore[no-untyped-def]
    """Texture position, light and trust of the listed pixels of a row; returns the last plane."""
    planes, plane_of, planned = plans
    half = np.float32(0.5)
    py = np.float32(y) + half
    for i in range(count):
        f = np.uint64(words[slot(_OWNER, i)])
        p = np.uint64(plane_of[f])
        if p == 0:
            last += 1
            p = np.uint64(last)
            plane_of[f], planned[p] = last, f
            _set_planes(vertices, faces, f, planes, p)
        px = np.float32(words[slot(_PIXEL, i)]) + half
        floats[slot(_POSITION, i)] = _plane(planes, p, 0, px, py)
        floats[slot(_POSITION + 1, i)] = _plane(planes, p, 1, px, py)
        floats[slot(_SEEN, i)] = _plane(planes, p, 2, px, py) - planes[p, _UNSURE]
        floats[slot(_SHADE, i)] = _plane(planes, p, 3, px, py)
    return last


@njit(inline="always")
def _colour(floats, words, count):  # type: ignore[no-untyped-def]
    """Packed colours of the listed pixels."""
    for i in range(count):
        w, t = corners(floats, words, i, _POSITION, _TEXEL, floats[slot(_SHADE, i)])
        green = np.int32(byte(channel(w, t, 8)) << 8)
        blue = np.int32(byte(channel(w, t, 16)) << 16)
        words[slot(_COLOUR, i)] = np.int32(np.int32(byte(channel(w, t, 0)) | green) | blue)


@njit(inline="always")
def _settle(tables, samples, y, line, count, picture, rest, n):  # type: ignore[no-untyped-def]
    """Write what the texture knows; the others become fragments. Returns how many there are."""
    floats, words = tables
    out, settled = picture
    row = np.uint64(y)
    for i in range(count):
        x = np.uint64(words[slot(_PIXEL, i)])
        if floats[slot(_SEEN, i)] > _SURE:
            word = words[slot(_COLOUR, i)]
            out[row, x, 0] = word
            out[row, x, 1] = word >> 8
            out[row, x, 2] = word >> 16
            settled[row, x] = True
        else:
            pixel = np.int32((y << ROW_SHIFT) | words[slot(_PIXEL, i)])
            n = _list(rest[0], rest[1], n, pixel, _claims(samples[0], samples[1], line, x))
    return n


@njit(**COMPILED)
def _settle_row(mesh, skin, samples, step, y, line, span, plans, last, tables, picture, rest, n):  # type: ignore[no-untyped-def]
    """Settle what can be of a row, in chunks; returns the last plane, the number of fragments."""
    vertices, faces, groups = mesh
    texture, wide, high = skin
    floats, words = tables
    for first in range(span[0], span[1], CHUNK):
        end = min(first + CHUNK, span[1])
        count, n = _scan(samples, groups, step, y, line, first, end, words, rest, n)
        last = _interpolate(vertices, faces, plans, last, y, count, floats, words)
        locate(floats, words, count, _POSITION, _TEXEL, wide, high)
        fetch(texture, words, count, _TEXEL, wide)
        _colour(floats, words, count)
        n = _settle(tables, samples, y, line, count, picture, rest, n)
    return last, n


@njit(**COMPILED)
def _find(mesh, skin, found, samples, bounds, step, plans, tables, picture, rest):  # type: ignore[no-untyped-def]
    """Band by band, see what is visible and settle what can be; returns the number of fragments."""
    top, bottom, left, right = bounds
    _, plane_of, planned = plans
    n = 0
    picture[1][:] = False
    for k in range(top // _BAND, -(-bottom // _BAND)):
        clear(samples, _BAND // 2, left >> 1, (right + 1) >> 1)
        draw_band(found, mesh[1], k, _BAND_SHIFT, samples)
        last = 0
        for y in range(max(top, k * _BAND), min(bottom, k * _BAND + _BAND)):
            last, n = _settle_row(
                mesh, skin, samples, step, y, y - k * _BAND, (left, right),
                plans, last, tables, picture, rest, n,
            )  # fmt: skip
        for i in range(1, last + 1):
            plane_of[planned[i]] = 0
    return n


def find(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    groups: NDArray[np.uint8],
    two_sided: NDArray[np.bool_],
    texture: NDArray[np.uint32],
    out: NDArray[np.uint8],
    canvas: Canvas,
    tolerance: float,
) -> Bounds:
    """See what is visible of a surface, and draw what is sure over ``out`` (H, W, 3).

    ``vertices`` (R, 8) are the first half of
    :func:`pipeline.models.mini.renderer.vertex_layout.split`. ``groups`` (F,) says which triangles
    belong to one surface; ``tolerance`` is the step of depth inside a pixel that counts as another,
    even within one group. ``texture`` comes from :func:`pack`. ``canvas.settled`` (H, W) says which
    pixels are as they will be; :func:`finish` draws the rest. Returns the box of pixels that may be
    touched.
    """
    buffer, found = canvas.buffer, canvas.triangles
    if out.shape != (canvas.height, buffer.width, 3):
        raise ValueError(f"canvas is {buffer.width} x {canvas.height}, picture is {out.shape}")
    if len(faces) > len(canvas.plans[1]):
        raise ValueError(f"canvas holds {len(canvas.plans[1])} triangles, got {len(faces)}")
    found.find(vertices, faces, two_sided, buffer.width, canvas.height)
    canvas.left = _find(
        (vertices, faces, groups), _skin(texture), found.lists, (buffer.keys, buffer.across),
        found.bounds, found.words_of(tolerance), canvas.plans, canvas.tables,
        (out, canvas.settled), canvas.fringe.lists,
    )  # fmt: skip
    return found.bounds


def finish(
    vertices: NDArray[np.float32],
    looks: NDArray[np.float32],
    faces: NDArray[np.int32],
    texture: NDArray[np.uint32],
    out: NDArray[np.uint8],
    canvas: Canvas,
) -> None:
    """Draw over ``out`` (H, W, 3) what :func:`find` left, given the same surface."""
    rest, mesh = canvas.fringe, (vertices, looks, faces)
    silhouette.draw(mesh, _skin(texture), rest.lists, canvas.left, rest.tables, out)


def _skin(texture: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], int, int]:
    """A texture as kernels take it: flat, and its width and height."""
    return texture.reshape(-1), texture.shape[1], texture.shape[0]


def draw(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    groups: NDArray[np.uint8],
    two_sided: NDArray[np.bool_],
    texture: NDArray[np.uint32],
    out: NDArray[np.uint8],
    canvas: Canvas,
    tolerance: float,
) -> Bounds:
    """Draw a surface of whole ``vertices`` (R, 16) over ``out``, as :func:`find` says."""
    places, looks = split(vertices)
    bounds = find(places, faces, groups, two_sided, texture, out, canvas, tolerance)
    finish(places, looks, faces, texture, out, canvas)
    return bounds
