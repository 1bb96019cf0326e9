"""The person's outline to the pixel: the body network's mask, corrected by colours and edges.

The network sees 256 px: it rounds off fingers, closes the gap between arm and waist and fades at
the picture's rim. Colours near by say who a pixel belongs to, and the outline runs along edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import Side
from pipeline.models.mini.enrolment import colour_model, hand_shapes, masks, random_walk

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE: Final = 512  # px of the longer side on which regions are found
_ROUNDS: Final = 2  # times that colours are counted anew
_SOFT: Final = 0.005  # of the longer side: how far off the network's outline may be
_RIM: Final = 0.07  # of the height: above the lower rim the network is not to be believed
_TOP: Final = 0.04  # of the height: below the upper rim it smears heads upwards
_DOUBTED: Final = 0.7  # prior there, at most
_SURE: Final = 0.99
_MOST: Final = 3.2  # log odds: what colour says at most; less than a sure network
_GAPS: Final = 0.88  # prior of what is near an arm, at most ...
_BELIEVED: Final = 0.3  # ... and how much it counts for the person's colours
_BESIDE: Final = 0.55  # prior of what is near a hand but not on it, at most: gaps between fingers
_FLESH: Final = 0.75  # prior of what should be the hand, at least
_TRUST: Final = (0.02, 0.10)  # of a doubtful and of a clear prior, against the edges


def person_share(picture: U8, mask: F32, hands: Mapping[Side, F32], core: Mask) -> F32:
    """How far (H, W), 0..1, each pixel is the person's; above a half it is.

    ``picture`` (H, W, 3) should be ``SIDE`` px long, ``mask`` (H, W) is the network's, ``hands``
    hold points (21, 2) in px, ``core`` (H, W) is the person's by its bones.
    """
    soft = masks.soft(_to_the_rim(mask), _SOFT * max(mask.shape))
    prior = np.clip(soft, 1 - _SURE, _SURE)
    top = slice(0, int(_TOP * len(mask)))
    prior[top] = np.minimum(prior[top], _DOUBTED)
    believed = np.ones_like(prior)
    believed[top] = _BELIEVED
    for points in hands.values():  # where arm and trunk leave gaps
        gaps = hand_shapes.surroundings(points, mask.shape) & ~core
        prior[gaps] = np.minimum(prior[gaps], _GAPS)
        believed[gaps] = _BELIEVED
    bones = np.zeros(mask.shape, bool)
    for points in hands.values():
        near, flesh = hand_shapes.around(points, mask.shape), hand_shapes.flesh(points, mask.shape)
        prior[near] = np.minimum(prior[near], _BESIDE)
        prior[flesh] = np.maximum(prior[flesh], _FLESH)
        bones |= hand_shapes.bones(points, mask.shape)
    prior[bones] = _SURE
    share = prior
    for _ in range(_ROUNDS):
        seen = colour_model.posterior(picture, np.stack([share * believed, 1 - share]))[0]
        told = np.clip(np.log(seen / (1 - seen)), -_MOST, _MOST)
        odds = np.log(prior / (1 - prior)) + told
        share = (1 / (1 + np.exp(-odds))).astype(np.float32)
    trust = _TRUST[0] + _TRUST[1] * np.abs(2 * share - 1)
    share[bones], trust[bones] = 1, 1
    both = np.stack([share, 1 - share])
    return np.asarray(random_walk.regions(picture, both, trust.astype(np.float32))[0], np.float32)


def _to_the_rim(mask: F32) -> F32:
    """The mask with what stands near the lower rim gone on to it."""
    high = len(mask)
    last = int((1 - _RIM) * high)
    out = mask.copy()
    fade = np.linspace(1, 0.75, high - last, dtype=np.float32)[:, None]
    out[last:] = np.maximum(mask[last:], mask[max(last - 1, 0)] * fade)
    return out
