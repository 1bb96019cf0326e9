"""Bilinear colours of a texture for many pixels at a time, in passes that suit vector instructions.

A list of pixels is worked off in chunks. For each chunk there are two small tables, of floats and
of words, CHUNK numbers a slot, that stay in the nearest cache: one pass writes texture positions,
``locate`` splits them into texel and remainder, ``fetch`` loads four texels a pixel, and a last
pass mixes them, sixteen pixels an instruction. A pixel at a time costs three times as much.

Texture positions count like pixels: the first texel's centre is (0.5, 0.5). A texel is a word, red
lowest, then green, blue, alpha.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED

CHUNK: Final = 256
SLOTS: Final = 16


Tables = tuple[NDArray[np.float32], NDArray[np.int32]]


def tables() -> Tables:
    """The table of floats and that of words, for one thread."""
    return np.zeros(SLOTS * CHUNK, np.float32), np.zeros(SLOTS * CHUNK, np.int32)


def pack(texture: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """A texture (H, W, 4) RGBA as drawing wants it: one word (H, W) a texel."""
    if texture.ndim != 3 or texture.shape[2] != 4 or min(texture.shape[:2]) < 2:
        raise ValueError(f"a texture is (H >= 2, W >= 2, 4), got {texture.shape}")
    return np.ascontiguousarray(texture).view("<u4")[..., 0]


@njit(**COMPILED)
def slot(number, i):  # type: ignore[no-untyped-def]
    """Where a slot of a table keeps what belongs to the chunk's pixel ``i``."""
    return np.uint64(number * CHUNK) + np.uint64(i)


@njit(inline="always")
def locate(floats, words, count, u, at, width, height):  # type: ignore[no-untyped-def]
    """Positions in slots u and u + 1 become remainders; slot ``at`` gets the upper left texel."""
    zero, half = np.float32(0.0), np.float32(0.5)
    right, low = np.float32(width) - np.float32(1.001), np.float32(height) - np.float32(1.001)
    for i in range(count):
        x = min(max(floats[slot(u, i)] - half, zero), right)
        y = min(max(floats[slot(u + 1, i)] - half, zero), low)
        column, line = np.int32(x), np.int32(y)
        floats[slot(u, i)] = x - np.float32(column)
        floats[slot(u + 1, i)] = y - np.float32(line)
        words[slot(at, i)] = np.int32(np.int32(line * np.int32(width)) + column)


@njit(inline="always")
def fetch(texture, words, count, at, width):  # type: ignore[no-untyped-def]
    """The four texels (right, below, both) of each pixel, into slots ``at`` to ``at`` + 3."""
    for i in range(count):
        here = np.uint64(np.uint32(words[slot(at, i)]))
        under = here + np.uint64(width)
        words[slot(at, i)] = np.int32(texture[here])
        words[slot(at + 1, i)] = np.int32(texture[here + np.uint64(1)])
        words[slot(at + 2, i)] = np.int32(texture[under])
        words[slot(at + 3, i)] = np.int32(texture[under + np.uint64(1)])


@njit(**COMPILED)
def corners(floats, words, i, u, at, scale):  # type: ignore[no-untyped-def]
    """The weights of a pixel's four texels, times ``scale``, and the texels."""
    s, t = floats[slot(u, i)], floats[slot(u + 1, i)]
    both = s * t
    weights = (
        (np.float32(1.0) - s - t + both) * scale, (s - both) * scale,
        (t - both) * scale, both * scale,
    )  # fmt: skip
    texels = (
        words[slot(at, i)], words[slot(at + 1, i)],
        words[slot(at + 2, i)], words[slot(at + 3, i)],
    )  # fmt: skip
    return weights, texels


@njit(**COMPILED)
def channel(weights, texels, shift):  # type: ignore[no-untyped-def]
    """One channel (0..255, times the weights' scale) of four weighted texels."""
    a, b, c, d = weights
    p, q, m, n = texels
    return (
        a * _byte_of(p, shift) + b * _byte_of(q, shift)
        + c * _byte_of(m, shift) + d * _byte_of(n, shift)
    )  # fmt: skip


@njit(**COMPILED)
def _byte_of(word, shift):  # type: ignore[no-untyped-def]
    return np.float32(np.int32(np.int32(word >> shift) & np.int32(255)))


@njit(**COMPILED)
def byte(value):  # type: ignore[no-untyped-def]
    """A colour that is not negative, rounded and bounded."""
    return np.int32(min(value + np.float32(0.5), np.float32(255.0)))
