"""Soft regions of a picture: a random walk from what is likely, which hardly crosses edges.

Each pixel wants the share of each label that its prior says, as strongly as the prior is trusted,
and the shares of its neighbours, as strongly as their colours agree (Grady 2006, with priors). One
sparse system for each label but the last; solved by conjugate gradients.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import masks
from pipeline.models.mini.renderer.rasterizer import COMPILED

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_LEAST: Final = 1e-3  # of a step within one colour: what an edge still lets through
_FLOOR: Final = 1.5  # levels of Lab below which a difference is noise
_AROUND: Final = 12.0  # px: what counts as an edge depends on how even the surroundings are
_STRICT: Final = 1.2
_TOLERANCE: Final = 1e-3  # of what the priors ask for
_SMALLEST: Final = 64  # px of the shorter side of the coarsest level


def regions(picture: U8, prior: F32, trust: F32, steps: int = 80) -> F32:
    """Shares (L, H, W) of labels, sum 1, from ``prior`` (L, H, W) weighed by ``trust`` (H, W)."""
    across, down = _passages(picture)
    out = _coarse(picture, prior, trust, steps)
    for label in range(len(prior) - 1):
        out[label] = _walk(across, down, trust, prior[label], out[label], steps)
    np.clip(out[:-1], 0, 1, out=out[:-1])
    total = np.maximum(out[:-1].sum(0), 1)
    out[:-1] /= total
    out[-1] = 1 - out[:-1].sum(0)
    return out


def _coarse(picture: U8, prior: F32, trust: F32, steps: int) -> F32:
    """What to start from: the solution for a picture of half the size."""
    high, wide = trust.shape
    if min(high, wide) < _SMALLEST:
        return prior.copy()
    size = ((wide + 1) // 2, (high + 1) // 2)
    weight = masks.reduced(trust, size)
    small = [masks.reduced(share * trust, size) / np.maximum(weight, 1e-9) for share in prior]
    less = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    found = regions(less, np.stack(small).astype(np.float32), 4 * weight, steps)
    wider = [masks.enlarged(share, (wide, high)) for share in found]
    return np.stack(wider).astype(np.float32)


def _passages(picture: U8) -> tuple[F32, F32]:
    """How easily a walk steps to the right (H, W - 1) and down (H - 1, W), 0..1."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab = masks.soft(lab, 0.7)
    right, below = np.diff(lab, axis=1), np.diff(lab, axis=0)
    right, below = np.linalg.norm(right, axis=2), np.linalg.norm(below, axis=2)
    change = 0.5 * (np.pad(right, ((0, 0), (0, 1))) + np.pad(below, ((0, 1), (0, 0))))
    usual = _STRICT * cv2.GaussianBlur(change, (0, 0), _AROUND) + _FLOOR
    across, down = usual[:, :-1], usual[:-1]
    return (
        (np.exp(-((right / across) ** 2)) + _LEAST).astype(np.float32),
        (np.exp(-((below / down) ** 2)) + _LEAST).astype(np.float32),
    )


def _walk(across: F32, down: F32, trust: F32, prior: F32, start: F32, steps: int) -> F32:
    share = start.copy()
    diagonal = trust.copy() + 1e-6
    diagonal[:, 1:] += across
    diagonal[:, :-1] += across
    diagonal[1:] += down
    diagonal[:-1] += down
    residual = trust * prior - _apply(across, down, diagonal, share)
    way = residual / diagonal
    power = float((residual * way).sum())
    least = _TOLERANCE**2 * float((trust * trust * prior * prior / diagonal).sum())
    for _ in range(steps):
        if power <= least or power <= 1e-12:
            break
        turned = _apply(across, down, diagonal, way)
        length = np.float32(power / float((way * turned).sum()))
        share += length * way
        residual -= length * turned
        scaled = residual / diagonal
        last, power = power, float((residual * scaled).sum())
        way = scaled + np.float32(power / last) * way
    return share


@njit(**COMPILED)
def _apply(across, down, diagonal, share):  # type: ignore[no-untyped-def]
    high, wide = share.shape
    out = np.empty_like(share)
    for y in range(high):
        for x in range(wide):
            total = diagonal[y, x] * share[y, x]
            if x > 0:
                total -= across[y, x - 1] * share[y, x - 1]
            if x < wide - 1:
                total -= across[y, x] * share[y, x + 1]
            if y > 0:
                total -= down[y - 1, x] * share[y - 1, x]
            if y < high - 1:
                total -= down[y, x] * share[y + 1, x]
            out[y, x] = total
    return out
