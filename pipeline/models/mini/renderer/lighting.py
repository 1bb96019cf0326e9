"""Light on a surface: how bright it gets as it turns, estimated from the picture itself.

Brightness is one plus a quadratic of the normal, bounded: a key, a fill and soft rims from behind
(Ramamoorthi and Hanrahan 2001: that is all a matt surface shows of any distant light). It is
relative, so only ratios between two normals mean anything.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]

TERMS: Final = 8  # x, y, z, xy, yz, zx, xx - yy, 3 zz - 1
DARKEST: Final = np.float32(0.55)
BRIGHTEST: Final = np.float32(1.5)
_STRENGTH: Final = 0.55  # the longest direction that is believed
_BENDING: Final = 0.35  # the largest of the quadratic terms that is
_DEFAULT: Final = (-0.1, 0.25, 0.25)  # a soft light from above and in front
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


def basis(normals: F32) -> F32:
    """The terms (N, TERMS) of unit normals (N, 3)."""
    x, y, z = normals.T
    out = (x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1)
    return np.stack(out, 1).astype(np.float32)


def brightness(normals: F32, light: F32) -> F32:
    """Relative brightness (N,) of unit normals (N, 3); a light of 3 numbers is a direction."""
    if len(light) not in (3, TERMS):
        raise ValueError(f"a light has 3 or {TERMS} numbers, got {len(light)}")
    change = basis(normals)[:, : len(light)] @ light
    return np.asarray(np.clip(1 + change, DARKEST, BRIGHTEST), np.float32)


@njit(inline="always")
def brightness_at(x, y, z, light):  # type: ignore[no-untyped-def]
    """``brightness`` of one normal under TERMS numbers, for compiled kernels."""
    one, three = np.float32(1.0), np.float32(3.0)
    first = light[0] * x + light[1] * y + light[2] * z
    second = light[3] * x * y + light[4] * y * z + light[5] * z * x
    third = light[6] * (x * x - y * y) + light[7] * (three * z * z - one)
    return min(max(one + first + second + third, DARKEST), BRIGHTEST)


def estimate(colours: F32, normals: F32, surface: NDArray[np.integer]) -> F32:
    """The light (TERMS,) that explains the colours (M, 3) of surfaces that are each of one paint.

    Least squares with a prior of a soft frontal light, so that patterns and few samples cannot
    invent drama.
    """
    luma, terms = colours @ _LUMA, basis(normals)
    rows, targets = [], []
    for number in np.unique(surface):
        mine = surface == number
        level = float(np.median(luma[mine]))
        if mine.sum() < 30 or level < 8:
            continue
        usual = np.abs(luma[mine] / level - 1) < 0.6
        rows.append(terms[mine][usual] - terms[mine][usual].mean(0))
        targets.append(luma[mine][usual] / level - (luma[mine][usual] / level).mean())
    prior = np.zeros(TERMS)
    prior[:3] = _DEFAULT
    if not rows:
        return prior.astype(np.float32)
    a, b = np.concatenate(rows), np.concatenate(targets)
    weight = len(a) * np.repeat((0.02, 0.04), (3, TERMS - 3))
    light = np.linalg.solve(a.T @ a + np.diag(weight), a.T @ b + weight * prior)
    length = float(np.linalg.norm(light[:3]))
    light[:3] *= min(1.0, _STRENGTH / max(length, 1e-6))
    light[3:] = np.clip(light[3:], -_BENDING, _BENDING)
    return np.asarray(light, np.float32)
