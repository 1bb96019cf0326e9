"""The remaining pixels of a surface, which planes and one texture cannot draw: a small share.

Where the samples of a pixel belong to different surfaces, or the texture has no colour, each
visible triangle is a *fragment*. It is shaded at the pixel's centre, or at its nearest point when
the centre is outside, from all data of its vertices, and weighted by its share of the four samples.
Fragments of one pixel are consecutive.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from pipeline.models.mini.renderer import texture_sampling
from pipeline.models.mini.renderer.rasterizer import COMPILED, OWNER, OWNER_BITS, SAMPLES
from pipeline.models.mini.renderer.texture_sampling import (
    CHUNK,
    byte,
    channel,
    corners,
    fetch,
    locate,
    slot,
)
from pipeline.models.mini.renderer.vertex_layout import (
    BLUE,
    COVER,
    GREEN,
    HALF,
    MIRROR_SEEN,
    MIRROR_U,
    MIRROR_V,
    RED,
    SEEN,
    SHADE,
    U,
    V,
    X,
    Y,
)

ROW_SHIFT: Final = 13  # a pixel is row << 13 | column
COLUMN: Final = (1 << ROW_SHIFT) - 1

_SURE: Final = np.float32(0.9999)
# Slots of the tables: floats, of which _TWIN to _TWIN_PART are guesses, then words.
_OWN, _OWN_PART, _COVER, _TWIN, _RED, _GREEN, _BLUE, _TWIN_PART = 0, 2, 3, 4, 6, 7, 8, 9
_OWN_TEXEL, _TWIN_TEXEL = 0, 4


class Fringe:
    """The list of fragments, and the tables to shade them; one for each thread that draws."""

    __slots__ = ("lists", "tables")

    def __init__(self, width: int, height: int) -> None:
        count = width * height * SAMPLES  # memory that is not written to costs nothing
        self.lists = (
            np.empty(count, np.int32),  # pixel
            np.empty(count, np.int32),  # triangle | samples << OWNER_BITS
        )
        self.tables = texture_sampling.tables()


@njit(**COMPILED)
def weights(a, b, c, x, y):  # type: ignore[no-untyped-def]
    """Barycentric weights of the triangle's point at (x, y), or of one beside it when outside."""
    zero, one = np.float32(0.0), np.float32(1.0)
    bx, by, cx, cy = b[X] - a[X], b[Y] - a[Y], c[X] - a[X], c[Y] - a[Y]
    px, py = x - a[X], y - a[Y]
    area = bx * cy - cx * by
    scale = one / (area if abs(area) > np.float32(1e-6) else np.float32(1e-6))
    s = min(max((px * cy - cx * py) * scale, zero), one)
    t = min(max((bx * py - px * by) * scale, zero), one)
    over = one / max(s + t, one)
    return one - (s + t) * over, s * over, t * over


@njit(**COMPILED)
def _mix(a, b, c, k, w):  # type: ignore[no-untyped-def]
    return w[0] * a[k] + w[1] * b[k] + w[2] * c[k]


@njit(**COMPILED)
def _gather(mesh, lists, start, count, floats):  # type: ignore[no-untyped-def]
    """What the vertices say of each fragment, into the tables."""
    vertices, looks, faces = mesh
    pixels, owners = lists
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    share = one / np.float32(SAMPLES)
    for i in range(count):
        pixel, owner = pixels[start + i], owners[start + i]
        x, y = np.float32(pixel & COLUMN) + half, np.float32(pixel >> ROW_SHIFT) + half
        f = owner & OWNER
        i0, i1, i2 = np.uint64(faces[f, 0]), np.uint64(faces[f, 1]), np.uint64(faces[f, 2])
        a, b, c = vertices[i0], vertices[i1], vertices[i2]
        w = weights(a, b, c, x, y)
        cover = share * np.float32(owner >> OWNER_BITS) * _mix(a, b, c, COVER, w)
        seen = _mix(a, b, c, SEEN, w)
        k = cover * _mix(a, b, c, SHADE, w)
        floats[slot(_OWN, i)] = _mix(a, b, c, U, w)
        floats[slot(_OWN + 1, i)] = _mix(a, b, c, V, w)
        floats[slot(_OWN_PART, i)] = seen * k
        floats[slot(_COVER, i)] = cover
        if seen > _SURE:  # the picture shows it: neither its twin nor its fill counts
            for part in range(_TWIN, _TWIN_PART + 1):
                floats[slot(part, i)] = zero
            continue
        d, e, g = looks[i0], looks[i1], looks[i2]
        twin = (one - seen) * _mix(d, e, g, MIRROR_SEEN - HALF, w)
        fill = one - seen - twin
        floats[slot(_TWIN, i)] = _mix(d, e, g, MIRROR_U - HALF, w)
        floats[slot(_TWIN + 1, i)] = _mix(d, e, g, MIRROR_V - HALF, w)
        floats[slot(_TWIN_PART, i)] = twin * k
        floats[slot(_RED, i)] = fill * k * _mix(d, e, g, RED - HALF, w)
        floats[slot(_GREEN, i)] = fill * k * _mix(d, e, g, GREEN - HALF, w)
        floats[slot(_BLUE, i)] = fill * k * _mix(d, e, g, BLUE - HALF, w)


@njit(**COMPILED)
def _shade(floats, words, count):  # type: ignore[no-untyped-def]
    """Add to each fragment's fill colour what the texture says of it and of its twin."""
    for i in range(count):
        w, t = corners(floats, words, i, _OWN, _OWN_TEXEL, floats[slot(_OWN_PART, i)])
        m, o = corners(floats, words, i, _TWIN, _TWIN_TEXEL, floats[slot(_TWIN_PART, i)])
        floats[slot(_RED, i)] += channel(w, t, 0) + channel(m, o, 0)
        floats[slot(_GREEN, i)] += channel(w, t, 8) + channel(m, o, 8)
        floats[slot(_BLUE, i)] += channel(w, t, 16) + channel(m, o, 16)


@njit(**COMPILED)
def _blend(floats, pixels, start, count, out):  # type: ignore[no-untyped-def]
    """Add up the fragments of each pixel, over ``out``."""
    zero, i = np.float32(0.0), 0
    while i < count:
        pixel = pixels[start + i]
        red, green, blue, cover = zero, zero, zero, zero
        while i < count and pixels[start + i] == pixel:
            red += floats[slot(_RED, i)]
            green += floats[slot(_GREEN, i)]
            blue += floats[slot(_BLUE, i)]
            cover += floats[slot(_COVER, i)]
            i += 1
        y, x = np.uint64(pixel >> ROW_SHIFT), np.uint64(pixel & COLUMN)
        rest = max(np.float32(1.0) - cover, zero)
        out[y, x, 0] = byte(red + rest * np.float32(out[y, x, 0]))
        out[y, x, 1] = byte(green + rest * np.float32(out[y, x, 1]))
        out[y, x, 2] = byte(blue + rest * np.float32(out[y, x, 2]))


@njit(**COMPILED)
def draw(mesh, skin, lists, total, tables, out):  # type: ignore[no-untyped-def]
    """Draw all fragments over ``out``, a chunk at a time; no pixel is cut in two."""
    texture, wide, high = skin
    pixels = lists[0]
    floats, words = tables
    start = 0
    while start < total:
        count = min(CHUNK, total - start)
        while start + count < total and pixels[start + count] == pixels[start + count - 1]:
            count -= 1
        _gather(mesh, lists, start, count, floats)
        locate(floats, words, count, _OWN, _OWN_TEXEL, wide, high)
        locate(floats, words, count, _TWIN, _TWIN_TEXEL, wide, high)
        fetch(texture, words, count, _OWN_TEXEL, wide)
        fetch(texture, words, count, _TWIN_TEXEL, wide)
        _shade(floats, words, count)
        _blend(floats, pixels, start, count, out)
        start += count
