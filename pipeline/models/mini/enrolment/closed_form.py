"""Closed-form matting: the alpha that is locally linear in the picture's colours.

In every window of 3 x 3 pixels alpha is nearly a linear function of colour (Levin, Lischinski and
Weiss 2008). What a window can't explain that way is the energy; its gradient, the matting
Laplacian, is applied without being stored, and conjugate gradients find the least. Pixels outside
the ``band`` are given.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_EPSILON: Final = 3e-5  # how much alpha may ignore faint colour differences; colours in 0..1
_TOLERANCE: Final = 2e-3  # of the first residual


def solve(picture: F32, guess: F32, trust: F32, band: Mask, steps: int = 120) -> F32:
    """Alpha (H, W) near ``guess`` where it is trusted, smooth over like colours elsewhere.

    ``picture`` (H, W, 3) in 0..1; ``trust`` (H, W) weighs the guess inside the ``band``; outside
    of it the guess is kept.
    """
    if not band.any():
        return guess.copy()
    mean, inverse = _windows(picture, band)
    rows, columns = np.nonzero(band)
    rows, columns = rows.astype(np.int32), columns.astype(np.int32)
    weight = trust[rows, columns]
    alpha = guess.copy()

    def gradient(values: F32) -> F32:
        told = _laplacian(picture, values, band, mean, inverse, rows, columns)
        return np.asarray(told, np.float32)

    diagonal = _diagonal(picture, band, mean, inverse, rows, columns) + weight + 1e-6
    residual = weight * guess[rows, columns] - gradient(alpha) - weight * alpha[rows, columns]
    way = residual / diagonal
    power = first = float(residual @ way)
    field = np.zeros_like(alpha)
    for _ in range(steps):
        if power <= _TOLERANCE**2 * first or power <= 1e-12:
            break
        field[rows, columns] = way
        turned = gradient(field) + weight * way
        length = power / float(way @ turned)
        alpha[rows, columns] += length * way
        residual = residual - length * turned
        scaled = residual / diagonal
        last, power = power, float(residual @ scaled)
        way = scaled + (power / last) * way
    return np.asarray(np.clip(alpha, 0, 1), np.float32)


@njit(**COMPILED)
def _windows(picture, band):  # type: ignore[no-untyped-def]
    """Mean colours and inverse covariances of windows that touch the band."""
    high, wide = band.shape
    mean = np.zeros((high, wide, 3), np.float32)
    inverse = np.zeros((high, wide, 6), np.float32)
    for y in range(1, high - 1):
        for x in range(1, wide - 1):
            if not band[y - 1 : y + 2, x - 1 : x + 2].any():
                continue
            m0 = m1 = m2 = c00 = c01 = c02 = c11 = c12 = c22 = 0.0
            for j in range(y - 1, y + 2):
                for i in range(x - 1, x + 2):
                    r, g, b = picture[j, i, 0], picture[j, i, 1], picture[j, i, 2]
                    m0 += r
                    m1 += g
                    m2 += b
                    c00 += r * r
                    c01 += r * g
                    c02 += r * b
                    c11 += g * g
                    c12 += g * b
                    c22 += b * b
            m0, m1, m2 = m0 / 9, m1 / 9, m2 / 9
            ridge = _EPSILON / 9
            c00, c01, c02 = c00 / 9 - m0 * m0 + ridge, c01 / 9 - m0 * m1, c02 / 9 - m0 * m2
            c11, c12, c22 = c11 / 9 - m1 * m1 + ridge, c12 / 9 - m1 * m2, c22 / 9 - m2 * m2 + ridge
            i00, i01, i02 = c11 * c22 - c12 * c12, c02 * c12 - c01 * c22, c01 * c12 - c02 * c11
            i11, i12, i22 = c00 * c22 - c02 * c02, c01 * c02 - c00 * c12, c00 * c11 - c01 * c01
            det = c00 * i00 + c01 * i01 + c02 * i02
            mean[y, x, 0], mean[y, x, 1], mean[y, x, 2] = m0, m1, m2
            inverse[y, x, 0], inverse[y, x, 1], inverse[y, x, 2] = i00 / det, i01 / det, i02 / det
            inverse[y, x, 3], inverse[y, x, 4], inverse[y, x, 5] = i11 / det, i12 / det, i22 / det
    return mean, inverse


@njit(**COMPILED)
def _laplacian(picture, alpha, band, mean, inverse, rows, columns):  # type: ignore[no-untyped-def]
    """What windows cannot explain (N,) of alpha, at the band's pixels."""
    high, wide = band.shape
    line = np.zeros((high, wide, 4), np.float32)
    for y in range(1, high - 1):
        for x in range(1, wide - 1):
            if inverse[y, x, 0] == 0:
                continue
            s = s0 = s1 = s2 = 0.0
            for j in range(y - 1, y + 2):
                for i in range(x - 1, x + 2):
                    p = alpha[j, i]
                    s += p
                    s0 += p * (picture[j, i, 0] - mean[y, x, 0])
                    s1 += p * (picture[j, i, 1] - mean[y, x, 1])
                    s2 += p * (picture[j, i, 2] - mean[y, x, 2])
            s0, s1, s2 = s0 / 9, s1 / 9, s2 / 9
            v = inverse[y, x]
            a0 = v[0] * s0 + v[1] * s1 + v[2] * s2
            a1 = v[1] * s0 + v[3] * s1 + v[4] * s2
            a2 = v[2] * s0 + v[4] * s1 + v[5] * s2
            line[y, x, 0], line[y, x, 1], line[y, x, 2] = a0, a1, a2
            line[y, x, 3] = s / 9 - a0 * mean[y, x, 0] - a1 * mean[y, x, 1] - a2 * mean[y, x, 2]
    out = np.zeros(len(rows), np.float32)
    for n in range(len(rows)):
        y, x = rows[n], columns[n]
        r, g, b = picture[y, x, 0], picture[y, x, 1], picture[y, x, 2]
        total = 0.0
        for j in range(max(y - 1, 1), min(y + 2, high - 1)):
            for i in range(max(x - 1, 1), min(x + 2, wide - 1)):
                w = line[j, i]
                total += alpha[y, x] - (w[0] * r + w[1] * g + w[2] * b + w[3])
        out[n] = total
    return out


@njit(**COMPILED)
def _diagonal(picture, band, mean, inverse, rows, columns):  # type: ignore[no-untyped-def]
    high, wide = band.shape
    out = np.zeros(len(rows), np.float32)
    for n in range(len(rows)):
        y, x = rows[n], columns[n]
        for j in range(max(y - 1, 1), min(y + 2, high - 1)):
            for i in range(max(x - 1, 1), min(x + 2, wide - 1)):
                v = inverse[j, i]
                d0 = picture[y, x, 0] - mean[j, i, 0]
                d1 = picture[y, x, 1] - mean[j, i, 1]
                d2 = picture[y, x, 2] - mean[j, i, 2]
                far = d0 * (v[0] * d0 + v[1] * d1 + v[2] * d2)
                far += d1 * (v[1] * d0 + v[3] * d1 + v[4] * d2)
                far += d2 * (v[2] * d0 + v[4] * d1 + v[5] * d2)
                out[n] += 1 - (1 + far) / 9
    return out
