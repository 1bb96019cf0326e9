"""For every patch of a hole the most similar patch of what is known, and the picture they vote for.

PatchMatch (Barnes and others 2009): good matches are passed on to neighbours and bettered by
random looks around; then every pixel of the hole is the weighted mean of what the patches over it
say (Wexler, Shechtman and Irani 2007). Pixels of the hole count for as much as they are ``sure``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.renderer.rasterizer import COMPILED

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Mask = NDArray[np.bool_]

RADIUS: Final = 3  # px: patches are 7 x 7
_FAR: Final = np.float32(1e30)


@njit(**COMPILED)
def _distance(picture, sure, y, x, j, i, worst):  # type: ignore[no-untyped-def]
    """Squared difference of two patches; gives up once it is ``worst`` or more."""
    total = np.float32(0)
    for dy in range(-RADIUS, RADIUS + 1):
        for dx in range(-RADIUS, RADIUS + 1):
            part = np.float32(0)
            for c in range(3):
                step = picture[y + dy, x + dx, c] - picture[j + dy, i + dx, c]
                part += step * step
            total += part * sure[y + dy, x + dx]
        if total >= worst:
            return worst
    return total


@njit(**COMPILED)
def search(picture, sure, sources, valid, places, at, match, cost, rounds, seed):  # type: ignore[no-untyped-def]
    """Better the ``match`` (N, 2) and its ``cost`` (N,) of patches centred at ``places`` (N, 2).

    ``sources`` (M, 2) are centres of known patches, ``valid`` (H, W) says where they are, ``at``
    (H, W) is the number of the patch at a pixel or -1. Reproducible by ``seed``.
    """
    high, wide = valid.shape
    state = np.uint64(seed) * np.uint64(2654435761) + np.uint64(88172645463325252)
    for n in range(len(places)):
        y, x = places[n, 0], places[n, 1]
        cost[n] = _distance(picture, sure, y, x, match[n, 0], match[n, 1], _FAR)
    for turn in range(rounds):
        forth = turn % 2 == 0
        step = 1 if forth else -1
        for k in range(len(places)):
            n = k if forth else len(places) - 1 - k
            y, x = places[n, 0], places[n, 1]
            for axis in range(2):
                ny, nx = (y - step, x) if axis else (y, x - step)
                if ny < 0 or nx < 0 or ny >= high or nx >= wide or at[ny, nx] < 0:
                    continue
                m = at[ny, nx]
                j, i = match[m, 0] + y - ny, match[m, 1] + x - nx
                if j < 0 or i < 0 or j >= high or i >= wide or not valid[j, i]:
                    continue
                found = _distance(picture, sure, y, x, j, i, cost[n])
                if found < cost[n]:
                    cost[n], match[n, 0], match[n, 1] = found, j, i
            reach = max(high, wide) // 2
            while reach >= 1:
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                span = np.uint64(2 * reach + 1)
                j = match[n, 0] + np.int64((state >> np.uint64(8)) % span) - reach
                i = match[n, 1] + np.int64((state >> np.uint64(32)) % span) - reach
                if 0 <= j < high and 0 <= i < wide and valid[j, i]:
                    found = _distance(picture, sure, y, x, j, i, cost[n])
                    if found < cost[n]:
                        cost[n], match[n, 0], match[n, 1] = found, j, i
                reach //= 2
            m = np.int64((state >> np.uint64(11)) % np.uint64(len(sources)))
            found = _distance(picture, sure, y, x, sources[m, 0], sources[m, 1], cost[n])
            if found < cost[n]:
                cost[n], match[n, 0], match[n, 1] = found, sources[m, 0], sources[m, 1]


@njit(**COMPILED)
def vote(picture, places, match, cost, trust, spread):  # type: ignore[no-untyped-def]
    """What patches say (H, W, 3), and with what weight (H, W); ``trust`` (N,) of each."""
    high, wide = picture.shape[:2]
    total = np.zeros((high, wide, 3), np.float32)
    weight = np.zeros((high, wide), np.float32)
    for n in range(len(places)):
        y, x, j, i = places[n, 0], places[n, 1], match[n, 0], match[n, 1]
        w = trust[n] * (np.exp(-cost[n] / spread) + np.float32(1e-4))
        for dy in range(-RADIUS, RADIUS + 1):
            for dx in range(-RADIUS, RADIUS + 1):
                weight[y + dy, x + dx] += w
                for c in range(3):
                    total[y + dy, x + dx, c] += w * picture[j + dy, i + dx, c]
    for y in range(high):
        for x in range(wide):
            if weight[y, x] > 0:
                for c in range(3):
                    total[y, x, c] /= weight[y, x]
    return total, weight
