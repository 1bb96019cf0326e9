"""Pictures with something taken out: smooth filling of what is not known.

Filling solves for the membrane that joins the known pixels (Laplace's equation), from coarse to
fine: every level starts from the level below and is relaxed a few times. Knows pictures and masks
alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SMALLEST: Final = 4  # px; below this the mean of what is known will do
_FINE: Final = 9.0  # levels: what stands out further is no weave
_RELAXATIONS: Final = 12  # a level

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]


def fill(picture: Picture, weight: Picture) -> Picture:
    """Fill (H, W, C) where ``weight`` (H, W) in [0, 1] says that it is not known.

    Known pixels (weight 1) are kept to the bit. Raises ``ValueError`` when nothing is known.
    """
    if weight.shape != picture.shape[:2]:
        raise ValueError(f"weights {weight.shape} do not fit a picture of {picture.shape}")
    if not weight.max() > 0.0:
        raise ValueError("nothing is known of the picture")
    return _level(picture.astype(np.float32), weight.astype(np.float32))


def _level(picture: Picture, weight: Picture) -> Picture:
    height, width = weight.shape
    if min(height, width) <= _SMALLEST or weight.min() >= 1.0:
        total = max(float(weight.sum()), 1e-6)
        guess = np.broadcast_to((picture * weight[..., None]).sum((0, 1)) / total, picture.shape)
    else:
        guess = _up(_level(*_down(picture, weight)), height, width)
    known = weight[..., None]
    out = known * picture + (1 - known) * guess
    for _ in range(_RELAXATIONS if weight.min() < 1.0 else 0):
        out = known * picture + (1 - known) * _neighbours(out)
    return np.asarray(out, np.float32)


def _down(picture: Picture, weight: Picture) -> tuple[Picture, Picture]:
    """Half size: colours averaged by weight, a block known as far as any of it is."""
    height, width = weight.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = np.pad(weight, odd)
    picture = np.pad(picture, (*odd, (0, 0)), mode="edge")
    blocks = weight.reshape(len(weight) // 2, 2, -1, 2)
    total = blocks.sum((1, 3))
    colours = (picture * weight[..., None]).reshape(*blocks.shape, -1).sum((1, 3))
    return colours / np.maximum(total, 1e-6)[..., None], np.minimum(total, 1.0)


def _up(picture: Picture, height: int, width: int) -> Picture:
    """Twice the size, bilinear, cut to height and width."""
    for axis, size in ((0, height), (1, width)):
        place = (np.arange(size) + 0.5) / 2 - 0.5
        low = np.clip(np.floor(place).astype(int), 0, picture.shape[axis] - 1)
        high = np.minimum(low + 1, picture.shape[axis] - 1)
        part = np.clip(place - low, 0, 1).astype(np.float32)
        part = part.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        picture = picture.take(low, axis) * (1 - part) + picture.take(high, axis) * part
    return picture


def _neighbours(picture: Picture) -> Picture:
    """The mean of the four neighbours; the rim goes on."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2, 1:-1] + padded[2:, 1:-1]
    return np.asarray((rows + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4, np.float32)


def detail(picture: Picture, known: Mask, size: float) -> Picture:
    """What to add (H, W, C) to a filled picture so that its holes are not smooth.

    Detail finer than ``size`` px is reflected at the rim of what is ``known`` (H, W), and fades
    where there is nothing to reflect. Nothing is added to what is known.
    """
    if known.all() or not known.any():
        return np.zeros_like(picture)
    weight = known.astype(np.float32)
    share = np.maximum(ndimage.gaussian_filter(weight, size), 1e-3)
    spread = (size, size, 0)
    smooth = ndimage.gaussian_filter(picture * weight[..., None], spread) / share[..., None]
    fine = np.clip(picture - smooth, -_FINE, _FINE) * weight[..., None]
    rows, columns = ndimage.distance_transform_edt(
        ~known, return_distances=False, return_indices=True
    )
    y, x = np.indices(known.shape)
    height, width = known.shape
    rows, columns = np.clip(2 * rows - y, 0, height - 1), np.clip(2 * columns - x, 0, width - 1)
    return np.asarray(np.where(known[..., None], 0, fine[rows, columns]), np.float32)


def grow(mask: Mask, radius: float) -> Mask:
    """The mask and everything within ``radius`` px of it."""
    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


def shrink(mask: Mask, radius: float) -> Mask:
    """What lies further than ``radius`` px inside the mask; the picture's rim is no border."""
    if mask.all():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(mask) > radius)


def slack(alpha: Picture, covered: Mask) -> float:
    """How many px a foreground ``alpha`` (H, W) mostly stands out over what a mesh has covered."""
    far = ndimage.distance_transform_edt(~covered)
    out = far[(alpha > 0.5) & (far > 0) & (far < 0.03 * len(alpha))]
    return float(np.percentile(out, 80)) if len(out) else 0.0


def without(picture: Picture, mask: Mask, margin: float) -> Picture:
    """The picture (H, W, 3) with what the mask covers, and ``margin`` px around it, filled in."""
    gone = grow(mask, margin)
    if gone.all():
        raise ValueError("the person fills the whole picture: there is no background to see")
    return fill(picture, (~gone).astype(np.float32))


def extended(picture: Picture, mask: Mask, margin: float) -> Picture:
    """The picture with the colours inside the mask carried out over its border.

    Pixels nearer than ``margin`` px to the border from inside count as mixed with what is outside.
    """
    kept = shrink(mask, margin)
    if not kept.any():
        kept = mask
    return fill(picture, kept.astype(np.float32))


def foreground(picture: Picture, covered: Picture) -> Picture:
    """Guess the foreground (H, W), 0..1, of a picture of which a mesh covers a part.

    What differs in colour from the background around and hangs together with the mesh is
    foreground. Right for plain backgrounds; for others a mask is better.
    """
    unit = len(covered) / 512
    body = covered > 0.5
    wide = grow(body, 45 * unit)
    if wide.all():
        wide = grow(body, 8 * unit)
    if wide.all():
        return covered.copy()
    behind = fill(picture, (~wide).astype(np.float32))
    spread = float(np.abs(picture - behind)[~wide].mean()) if (~wide).any() else 0.0
    step = np.linalg.norm(picture - behind, axis=2)
    noise = np.linalg.norm(picture - ndimage.gaussian_filter(picture, (2, 2, 0)), axis=2)[~wide]
    floor = 14.0 + 3 * float(np.median(noise)) + spread
    differs = np.clip((step - floor) / 24.0, 0, 1) * wide
    labels, _ = ndimage.label(differs > 0.5)
    touching = np.unique(labels[grow(body, 2 * unit)])
    kept = np.isin(labels, touching[touching > 0])
    loose = differs * grow(kept, 2 * unit)
    return np.asarray(np.maximum(loose, covered), np.float32)
