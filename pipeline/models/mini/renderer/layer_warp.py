"""Draws a warped layer: positions of its nodes, and its quads as warped pieces of picture.

A node moves rigidly with the smooth average of the surface points that it follows. Each quad is two
textured triangles, blended over what was drawn before. Pixels that the surface will cover are
skipped.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED
from pipeline.models.mini.renderer.texture_sampling import (
    CHUNK,
    Tables,
    channel,
    corners,
    fetch,
    locate,
    slot,
)
from pipeline.models.mini.renderer.warp_layer import Sheet

F32 = NDArray[np.float32]

_SCALE: Final = (0.85, 1.15)  # how far a node's neighbourhood may shrink and grow
_TORN: Final = (1.6, 2.6)  # a quad fades as it is stretched from the first to the second
_PIECE: Final = 64  # pixels of a row that are listed before there must be room for more
_NOTHING: Final = np.float32(0.004)  # of opacity, which no pixel shows
_ROW_SHIFT: Final = 13  # listed pixels are row << 13 | column
_COLUMN: Final = (1 << _ROW_SHIFT) - 1

# Slots of the tables: floats, then words.
_POSITION, _FADE, _ALPHA, _RED, _GREEN, _BLUE = 0, 2, 3, 4, 5, 6
_PIXEL, _TEXEL = 0, 1


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


@njit(**COMPILED)
def _edge(ax, ay, bx, by):  # type: ignore[no-untyped-def]
    """Edge a -> b as slopes and offset, positive inside; one triangle only owns what lies on it."""
    dx, dy = bx - ax, by - ay
    tiny = np.float32(1.0 / 1024.0)
    owned = dy < 0.0 or (dy == 0.0 and dx > 0.0)
    return -dy, dx, dy * ax - dx * ay + (tiny if owned else -tiny)


@njit(**COMPILED)
def _corner(moved, i):  # type: ignore[no-untyped-def]
    """A node's place, rounded to 1/16 px."""
    grid = np.float32(16.0)
    return np.rint(moved[i, 0] * grid) / grid, np.rint(moved[i, 1] * grid) / grid


@njit(**COMPILED)
def _mix(floats, words, count):  # type: ignore[no-untyped-def]
    """Colours and opacity of the listed pixels."""
    for i in range(count):
        w, t = corners(floats, words, i, _POSITION, _TEXEL, np.float32(1.0))
        floats[slot(_ALPHA, i)] = channel(w, t, 24) * floats[slot(_FADE, i)]
        floats[slot(_RED, i)] = channel(w, t, 0)
        floats[slot(_GREEN, i)] = channel(w, t, 8)
        floats[slot(_BLUE, i)] = channel(w, t, 16)


@njit(**COMPILED)
def _blend(floats, words, count, out):  # type: ignore[no-untyped-def]
    half = np.float32(0.5)
    for i in range(count):
        alpha = floats[slot(_ALPHA, i)]
        if alpha > _NOTHING:
            pixel = words[slot(_PIXEL, i)]
            y, x = np.uint64(pixel >> _ROW_SHIFT), np.uint64(pixel & _COLUMN)
            r, g, b = np.float32(out[y, x, 0]), np.float32(out[y, x, 1]), np.float32(out[y, x, 2])
            out[y, x, 0] = np.int32(r + alpha * (floats[slot(_RED, i)] - r) + half)
            out[y, x, 1] = np.int32(g + alpha * (floats[slot(_GREEN, i)] - g) + half)
            out[y, x, 2] = np.int32(b + alpha * (floats[slot(_BLUE, i)] - b) + half)


@njit(**COMPILED)
def _flush(skin, tables, count, out):  # type: ignore[no-untyped-def]
    """Draw the listed pixels."""
    texture, wide, high = skin
    floats, words = tables
    locate(floats, words, count, _POSITION, _TEXEL, wide, high)
    fetch(texture, words, count, _TEXEL, wide)
    _mix(floats, words, count)
    _blend(floats, words, count, out)


@njit(inline="always")
def _list(plane, fade, settled, y, first, last, tables, n):  # type: ignore[no-untyped-def]
    """List the row's pixels from ``first`` to ``last`` that are inside and not settled."""
    u0, v0, w0, u1, v1, w1, u2, v2, w2, s0, s1, s2, t0, t1, t2 = plane
    floats, words = tables
    half = np.float32(0.5)
    py = np.float32(y) + half
    for x in range(first, last):
        px = np.float32(x) + half
        e0, e1, e2 = u0 * px + v0 * py + w0, u1 * px + v1 * py + w1, u2 * px + v2 * py + w2
        floats[slot(_POSITION, n)] = s0 * e0 + s1 * e1 + s2 * e2
        floats[slot(_POSITION + 1, n)] = t0 * e0 + t1 * e1 + t2 * e2
        floats[slot(_FADE, n)] = fade
        words[slot(_PIXEL, n)] = (y << _ROW_SHIFT) | x
        inside = min(e0, e1, e2) > np.float32(0.0)
        n += inside & (not settled[np.uint64(y), np.uint64(x)])
    return n


@njit(**COMPILED)
def _triangle(skin, texels, places, corner, fade, tables, n, picture):  # type: ignore[no-untyped-def]
    """List one triangle's pixels, drawing what no longer fits; returns how many are listed."""
    nodes, moved = places
    out, settled = picture
    a, b, c = corner
    ax, ay = _corner(moved, a)
    bx, by = _corner(moved, b)
    cx, cy = _corner(moved, c)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    x0, x1 = max(0, int(min(ax, bx, cx))), min(out.shape[1] - 1, int(max(ax, bx, cx)))
    y0, y1 = max(0, int(min(ay, by, cy))), min(out.shape[0] - 1, int(max(ay, by, cy)))
    if area <= 0.0 or x0 > x1 or y0 > y1:
        return n
    k = texels / area
    plane = (
        *_edge(bx, by, cx, cy), *_edge(cx, cy, ax, ay), *_edge(ax, ay, bx, by),
        k * nodes[a, 0], k * nodes[b, 0], k * nodes[c, 0],
        k * nodes[a, 1], k * nodes[b, 1], k * nodes[c, 1],
    )  # fmt: skip
    for y in range(y0, y1 + 1):
        for first in range(x0, x1 + 1, _PIECE):
            if n > CHUNK - _PIECE - 1:
                _flush(skin, tables, n, out)
                n = 0
            last = min(first + _PIECE, x1 + 1)
            n = _list(plane, fade, settled, y, first, last, tables, n)
    return n


@njit(**COMPILED)
def _hidden(moved, quad, settled):  # type: ignore[no-untyped-def]
    """Whether all pixels that the quad may touch are settled."""
    a, b, c, d = quad
    ax, bx, cx, dx = moved[a, 0], moved[b, 0], moved[c, 0], moved[d, 0]
    ay, by, cy, dy = moved[a, 1], moved[b, 1], moved[c, 1], moved[d, 1]
    x0, y0 = max(0, int(min(ax, bx, cx, dx)) - 1), max(0, int(min(ay, by, cy, dy)) - 1)
    x1 = min(settled.shape[1], int(max(ax, bx, cx, dx)) + 2)
    y1 = min(settled.shape[0], int(max(ay, by, cy, dy)) + 2)
    for y in range(y0, y1):
        count = 0
        for x in range(x0, x1):
            count += settled[np.uint64(y), np.uint64(x)]
        if count < x1 - x0:
            return False
    return True


@njit(**COMPILED)
def _draw(skin, texels, places, quads, tears, tables, picture):  # type: ignore[no-untyped-def]
    whole, torn = np.float32(_TORN[0]), np.float32(_TORN[1])
    n = 0
    for q in range(quads.shape[0]):
        stretch = _stretch(places[0], places[1], quads, q)
        fade = min(max((torn - stretch) / (torn - whole), np.float32(0.0)), np.float32(1.0))
        fade = fade if tears else np.float32(1.0)
        a, b, c, d = quads[q, 0], quads[q, 1], quads[q, 2], quads[q, 3]
        if fade > 0.0 and not _hidden(places[1], (a, b, c, d), picture[1]):
            fade /= np.float32(255.0)
            n = _triangle(skin, texels, places, (a, b, c), fade, tables, n, picture)
            n = _triangle(skin, texels, places, (b, d, c), fade, tables, n, picture)
    _flush(skin, tables, n, picture[0])


def move(sheet: Sheet, vertices: F32, moved: F32) -> None:
    """Write into ``moved`` (M, 2) where the sheet's nodes are as the rows of ``vertices`` stand."""
    if not sheet.empty:
        _move(sheet.nodes, sheet.rows, sheet.weights, sheet.anchors, sheet.grip, vertices, moved)


def draw(
    sheet: Sheet,
    moved: F32,
    settled: NDArray[np.bool_],
    tables: Tables,
    out: NDArray[np.uint8],
) -> None:
    """Draw the sheet over ``out`` (H, W, 3) with its nodes at ``moved`` (M, 2).

    ``settled`` (H, W) pixels are left as they are; ``tables`` is memory from
    :func:`pipeline.models.mini.renderer.texture_sampling.tables`.
    """
    if sheet.empty:
        return
    skin = (sheet.texture.reshape(-1), sheet.texture.shape[1], sheet.texture.shape[0])
    places = (
        sheet.nodes
        if sheet.corner == (0.0, 0.0)
        else sheet.nodes - np.array(sheet.corner, np.float32)
    )
    _draw(
        skin, np.float32(sheet.texels), (places, moved), sheet.quads, sheet.tears, tables,
        (out, settled),
    )  # fmt: skip
