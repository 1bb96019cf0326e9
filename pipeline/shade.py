"""A textured surface drawn over a picture: colours for what the z-buffer found visible.

Knows vertices, textures and pixels; nothing of bodies, cameras or people. A vertex is sixteen
float32, one cache line, in the order of the constants below. Its colour comes from the texture at
(U, V) as far as it was SEEN, else at (MIRROR_U, MIRROR_V) as far as that was, else it is RED,
GREEN, BLUE. SHADE multiplies; COVER below 1 lets what lies behind the whole surface through.
Texture positions count like pixels: the first texel's centre is (0.5, 0.5).

Most pixels lie inside one surface and are shaded once, from planes set up per triangle. Where the
samples of a pixel belong to different surfaces, or the texture does not know the colour, each
visible triangle is shaded and the four samples averaged.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.raster import COMPILED, FAR, SAMPLES, Bounds, Buffer, rasterise

X, Y, DEPTH, COVER, U, V, SEEN, SHADE, MIRROR_U, MIRROR_V, MIRROR_SEEN = range(11)
RED, GREEN, BLUE = 12, 13, 14
VERTEX_WIDTH: Final = 16

_PLANES: Final = (U, V, SEEN, SHADE, COVER)  # three coefficients each, one cache line a triangle
_SURE: Final = np.float32(0.999)
# Slopes a pixel above which a plane is not to be trusted beside its triangle.
_STEEP_TEXELS: Final = np.float32(6.0)
_STEEP: Final = np.float32(0.4)
_FACE: Final = (1 << 20) - 1
_ROW_SHIFT: Final = 13  # listed pixels are row << 13 | column
_COLUMN: Final = (1 << _ROW_SHIFT) - 1


class Canvas:
    """The memory that drawing needs; one for each thread that draws."""

    __slots__ = ("buffer", "colours", "mixed", "plain", "planes")

    def __init__(self, width: int, height: int, faces: int) -> None:
        self.buffer = Buffer(width, height)
        self.planes = np.zeros((faces, VERTEX_WIDTH), np.float32)
        self.plain = np.zeros(width * height, np.int32)
        self.mixed = np.zeros(width * height, np.int32)
        self.colours = np.zeros(width * height, np.uint32)


@njit(**COMPILED)
def _set_planes(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    two_sided: NDArray[np.bool_],
    planes: NDArray[np.float32],
) -> None:
    """value = p + q x + r y over the picture, for the attributes of ``_PLANES``."""
    least = np.float32(1e-2)  # of area: slivers get a bounded slope
    for f in range(faces.shape[0]):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        bx, by, cx, cy = b[X] - a[X], b[Y] - a[Y], c[X] - a[X], c[Y] - a[Y]
        area = bx * cy - cx * by
        if area >= np.float32(0.0) and not two_sided[f]:
            continue
        scale = np.float32(1.0) / (min(area, -least) if area < 0.0 else max(area, least))
        steep = False
        for i in range(5):
            k = COVER if i == 4 else U + i
            q = ((b[k] - a[k]) * cy - (c[k] - a[k]) * by) * scale
            r = ((c[k] - a[k]) * bx - (b[k] - a[k]) * cx) * scale
            planes[f, 3 * i] = a[k] - q * a[X] - r * a[Y]
            planes[f, 3 * i + 1] = q
            planes[f, 3 * i + 2] = r
            steep |= abs(q) + abs(r) > (_STEEP_TEXELS if i < 2 else _STEEP)
        planes[f, 15] = 1e6 if steep else 0.0


@njit(**COMPILED)
def _sort_pixels(depth, owner, stride, bounds, tolerance, plain, mixed):  # type: ignore[no-untyped-def]
    """List the covered pixels: those of one surface and the others."""
    top, bottom, left, right = bounds
    n, m = 0, 0
    for y in range(top, bottom):
        for x in range(left, right):
            i = np.uint64((y * stride + x) * SAMPLES)
            j, k, o = i + np.uint64(1), i + np.uint64(2), i + np.uint64(3)
            nearest = min(depth[i], depth[j], depth[k], depth[o])
            farthest = max(depth[i], depth[j], depth[k], depth[o])
            if nearest == FAR:
                continue
            parts = (owner[i] ^ owner[j]) | (owner[i] ^ owner[k]) | (owner[i] ^ owner[o])
            if farthest - nearest < tolerance and parts <= _FACE:
                plain[n] = (y << _ROW_SHIFT) | x
                n += 1
            else:
                mixed[m] = (y << _ROW_SHIFT) | x
                m += 1
    return n, m


@njit(inline="always")
def _byte_of(word, shift):  # type: ignore[no-untyped-def]
    return np.float32(np.int32((word >> np.uint32(shift)) & np.uint32(255)))


@njit(inline="always")
def bilinear(texture, width, height, u, v):  # type: ignore[no-untyped-def]
    """Red, green, blue, alpha (0..255) of a flat texture of packed words; its rim goes on.

    All in 32 bits: numba would otherwise reckon in 64, at twice the cost.
    """
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    u = min(max(u - half, zero), np.float32(width) - np.float32(1.001))
    v = min(max(v - half, zero), np.float32(height) - np.float32(1.001))
    i, j = np.int32(u), np.int32(v)
    s, t = u - np.float32(i), v - np.float32(j)
    d = s * t
    b, c, a = s - d, t - d, one - s - t + d
    at = np.uint64(np.uint32(np.int32(j * np.int32(width)) + i))
    under = at + np.uint64(width)
    p, q = texture[at], texture[at + np.uint64(1)]
    m, n = texture[under], texture[under + np.uint64(1)]
    return (
        a * _byte_of(p, 0) + b * _byte_of(q, 0) + c * _byte_of(m, 0) + d * _byte_of(n, 0),
        a * _byte_of(p, 8) + b * _byte_of(q, 8) + c * _byte_of(m, 8) + d * _byte_of(n, 8),
        a * _byte_of(p, 16) + b * _byte_of(q, 16) + c * _byte_of(m, 16) + d * _byte_of(n, 16),
        a * _byte_of(p, 24) + b * _byte_of(q, 24) + c * _byte_of(m, 24) + d * _byte_of(n, 24),
    )


@njit(inline="always")
def _byte(value):  # type: ignore[no-untyped-def]
    """A colour that is not negative, rounded and bounded."""
    return np.uint32(np.int32(min(value + np.float32(0.5), np.float32(255.0))))


@njit(inline="always")
def _place(pixel, stride):  # type: ignore[no-untyped-def]
    """Row, column and first sample of a listed pixel."""
    y, x = np.uint32(pixel) >> np.uint32(_ROW_SHIFT), np.uint32(pixel) & np.uint32(_COLUMN)
    return y, x, np.uint64(np.uint32(y * np.uint32(stride) + x) * np.uint32(SAMPLES))


@njit(**COMPILED)
def _shade_plain(texture, width, height, owner, stride, planes, plain, count, colours):  # type: ignore[no-untyped-def]
    """Packed colours of the plain pixels; the fourth byte is 1 where the texture knew them."""
    for n in range(count):
        y, x, first = _place(plain[n], stride)
        f = np.uint64(np.uint32(owner[first]) & np.uint32(_FACE)) * np.uint64(VERTEX_WIDTH)
        px, py = (
            np.float32(np.int32(x)) + np.float32(0.5),
            np.float32(np.int32(y)) + np.float32(0.5),
        )
        u, v = _plane(planes, f, 0, px, py), _plane(planes, f, 3, px, py)
        seen, shade = _plane(planes, f, 6, px, py), _plane(planes, f, 9, px, py)
        cover, steep = _plane(planes, f, 12, px, py), planes[f + np.uint64(15)]
        r, g, b, _ = bilinear(texture, width, height, u, v)
        word = np.uint32(_byte(r * shade) | np.uint32(_byte(g * shade) << np.uint32(8)))
        word = np.uint32(word | np.uint32(_byte(b * shade) << np.uint32(16)) | np.uint32(1 << 24))
        colours[n] = word if min(seen, cover) - steep > _SURE else np.uint32(0)


@njit(inline="always")
def _plane(planes, f, k, x, y):  # type: ignore[no-untyped-def]
    p = f + np.uint64(k)
    return planes[p] + planes[p + np.uint64(1)] * x + planes[p + np.uint64(2)] * y


@njit(inline="always")
def _weights(a, b, c, x, y):  # type: ignore[no-untyped-def]
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


@njit(inline="always")
def _mix(a, b, c, k, w):  # type: ignore[no-untyped-def]
    return w[0] * a[k] + w[1] * b[k] + w[2] * c[k]


@njit(**COMPILED)
def _colour(vertices, faces, texture, width, height, f, x, y):  # type: ignore[no-untyped-def]
    """Red, green, blue (0..255, may exceed) and cover of triangle ``f`` at a pixel's centre."""
    a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
    w = _weights(a, b, c, x, y)
    zero, one = np.float32(0.0), np.float32(1.0)
    seen = _mix(a, b, c, SEEN, w)
    mirror = (one - seen) * _mix(a, b, c, MIRROR_SEEN, w)
    rest = one - seen - mirror
    red, green, blue = (
        rest * _mix(a, b, c, RED, w),
        rest * _mix(a, b, c, GREEN, w),
        rest * _mix(a, b, c, BLUE, w),
    )
    if seen > zero:
        u, v = _mix(a, b, c, U, w), _mix(a, b, c, V, w)
        r, g, h, _ = bilinear(texture, width, height, u, v)
        red, green, blue = red + seen * r, green + seen * g, blue + seen * h
    if mirror > zero:
        u, v = _mix(a, b, c, MIRROR_U, w), _mix(a, b, c, MIRROR_V, w)
        r, g, h, _ = bilinear(texture, width, height, u, v)
        red, green, blue = red + mirror * r, green + mirror * g, blue + mirror * h
    k = _mix(a, b, c, SHADE, w)
    return red * k, green * k, blue * k, _mix(a, b, c, COVER, w)


@njit(**COMPILED)
def _store_plain(vertices, faces, texture, width, height, owner, stride, plain, count, words, mixed, m, out):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
    """Write the known colours of the plain pixels, and find those that no plane could give.

    Of the latter those with several triangles join the ``m`` mixed pixels; returns the new ``m``.
    """
    one = np.float32(1.0)
    for n in range(count):
        word = words[n]
        y, x, first = _place(plain[n], stride)
        if word >> 24:
            out[y, x, 0] = word & 255
            out[y, x, 1] = (word >> 8) & 255
            out[y, x, 2] = (word >> 16) & 255
            continue
        j, k, o = first + np.uint64(1), first + np.uint64(2), first + np.uint64(3)
        f = owner[first]
        if (f ^ owner[j]) | (f ^ owner[k]) | (f ^ owner[o]):
            mixed[m] = plain[n]
            m += 1
            continue
        f &= _FACE
        px, py = np.float32(np.int32(x) + 0.5), np.float32(np.int32(y) + 0.5)
        r, g, b, cover = _colour(vertices, faces, texture, width, height, f, px, py)
        rest = max(one - cover, np.float32(0.0))
        out[y, x, 0] = _byte(cover * r + rest * np.float32(out[y, x, 0]))
        out[y, x, 1] = _byte(cover * g + rest * np.float32(out[y, x, 1]))
        out[y, x, 2] = _byte(cover * b + rest * np.float32(out[y, x, 2]))
    return m


@njit(**COMPILED)
def _shade_mixed(vertices, faces, texture, width, height, depth, owner, stride, mixed, count, out):  # type: ignore[no-untyped-def]
    """Average what the four samples of each listed pixel show, over ``out``."""
    quarter, zero = np.float32(0.25), np.float32(0.0)
    for n in range(count):
        y, x, first = _place(mixed[n], stride)
        px, py = (
            np.float32(np.int32(x)) + np.float32(0.5),
            np.float32(np.int32(y)) + np.float32(0.5),
        )
        red, green, blue, covered = zero, zero, zero, zero
        for s in range(SAMPLES):
            at = first + np.uint64(s)
            if depth[at] == FAR:
                continue
            f, share, before = owner[at], zero, False
            for o in range(SAMPLES):
                other = first + np.uint64(o)
                if depth[other] < FAR and owner[other] == f:
                    share += quarter
                    before |= o < s
            if before:
                continue
            r, g, b, cover = _colour(vertices, faces, texture, width, height, f & _FACE, px, py)
            share *= cover
            red, green, blue = red + share * r, green + share * g, blue + share * b
            covered += share
        rest = max(np.float32(1.0) - covered, zero)
        out[y, x, 0] = _byte(red + rest * np.float32(out[y, x, 0]))
        out[y, x, 1] = _byte(green + rest * np.float32(out[y, x, 1]))
        out[y, x, 2] = _byte(blue + rest * np.float32(out[y, x, 2]))


def pack(texture: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """A texture (H, W, 4) RGBA as drawing wants it: one word (H, W) a texel."""
    if texture.ndim != 3 or texture.shape[2] != 4 or min(texture.shape[:2]) < 2:
        raise ValueError(f"a texture is (H >= 2, W >= 2, 4), got {texture.shape}")
    return np.ascontiguousarray(texture).view("<u4")[..., 0]


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
    """Draw a surface over ``out`` (H, W, 3); returns the box of pixels that it may have touched.

    ``tolerance`` is the step of depth inside a pixel that counts as another surface, even within
    one group. ``texture`` comes from :func:`pack`.
    """
    buffer = canvas.buffer
    if out.shape != (buffer.height, buffer.width, 3):
        raise ValueError(f"canvas is {buffer.width} x {buffer.height}, picture is {out.shape}")
    if len(faces) > len(canvas.planes):
        raise ValueError(f"canvas holds {len(canvas.planes)} triangles, got {len(faces)}")
    bounds = rasterise(vertices, faces, groups, two_sided, buffer)
    flat, (high, wide) = texture.reshape(-1), texture.shape
    depth, owner, stride = buffer.depth, buffer.owner, buffer.stride
    plain, mixed = canvas.plain, canvas.mixed
    _set_planes(vertices, faces, two_sided, canvas.planes)
    n, m = _sort_pixels(depth, owner, stride, bounds, np.float32(tolerance), plain, mixed)
    _shade_plain(
        flat, wide, high, owner, stride, canvas.planes.reshape(-1), plain, n, canvas.colours
    )  # fmt: skip
    m = _store_plain(
        vertices, faces, flat, wide, high, owner, stride, plain, n, canvas.colours, mixed, m, out
    )  # fmt: skip
    _shade_mixed(vertices, faces, flat, wide, high, depth, owner, stride, mixed, m, out)
    return bounds
