"""Soft borders: a mask made exact by the picture, with a share of every pixel on its border.

What lies inside the mask is foreground and what lies outside is not; in a band along the border
alpha follows the colours (``colour_pairs``) and is smooth where they are (``closed_form``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import closed_form, colour_pairs, masks

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_REACH: Final = 0.05  # of the picture's longer side: how far colours are looked for
_TRUST: Final = 0.06  # of a sure guess, against the smoothness
_COARSE_TRUST: Final = 0.012  # of the mask in the band
_BLUR: Final = 0.35  # of the band's width: how soft the mask is taken to be


def matte(picture: U8, share: F32, inner: float, outer: F32 | float) -> F32:
    """Alpha (H, W) of the region where ``share`` (H, W) is above a half.

    The band reaches ``inner`` px into the region and ``outer`` px (a number, or one for each
    pixel) out of it.
    """
    region = share > 0.5
    if not region.any():
        return np.zeros_like(share)
    box = masks.box(region, int(_REACH * max(share.shape)) + 8)
    out = np.zeros_like(share)
    wide = outer[box] if isinstance(outer, np.ndarray) else outer
    out[box] = _in_box(picture[box], region[box], inner, wide, int(_REACH * max(share.shape)))
    return out


def _in_box(picture: U8, region: Mask, inner: float, outer: F32 | float, reach: int) -> F32:
    inside, outside = masks.depth(region) > inner, masks.depth(~region) > outer
    band = ~(inside | outside)
    colours = masks.unit(picture)
    pair, sure = colour_pairs.best_pairs(colours, inside, outside, reach)
    soft = masks.soft(region, max(_BLUR * inner, 0.8))
    trust = _TRUST * sure**2 + _COARSE_TRUST
    guess = (_TRUST * sure**2 * pair + _COARSE_TRUST * soft) / trust
    guess = np.where(band, guess, inside).astype(np.float32)
    alpha = closed_form.solve(colours, guess, np.where(band, trust, 0).astype(np.float32), band)
    return np.asarray(np.clip((alpha - 0.03) / 0.94, 0, 1), np.float32)
