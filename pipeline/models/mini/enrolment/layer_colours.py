"""The colours of layers: their own at soft borders, and such that all together are the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import masks, pure_colours
from pipeline.models.mini.enrolment.person_parts import Layer, PersonParts

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_LEAST: Final = 0.35  # of alpha: below it a layer's colours say little, and errors grow
_COVERED: Final = 0.02  # of alpha: what lies under that much of other layers isn't seen


def own_colours(picture: U8, colours: U8, alpha: F32) -> U8:
    """``colours`` (H, W, 3) without what shows through at a layer's own border."""
    if not (alpha > 0.01).any():
        return colours
    box = masks.box(alpha > 0.01, 24)
    own = pure_colours.pure_colours(masks.unit(picture[box]), alpha[box])
    out = colours.copy()
    out[box] = masks.byte(own)
    return out


def settled(picture: U8, parts: PersonParts) -> PersonParts:
    """The parts with colours at borders such that, in their own places, they are the picture."""
    stack = [Layer(parts.body, (0, 0))]
    for arm in parts.arms.values():
        stack += arm.upper, arm.lower
    below, above = parts.plate.astype(np.float32), _above(stack, picture.shape[:2])
    for number, layer in enumerate(stack):
        stack[number] = _settled(picture, layer, below, above[number])
        below = stack[number].over(below)
    body, *limbs = stack
    arms = {
        side: replace(arm, upper=limbs[2 * n], lower=limbs[2 * n + 1])
        for n, (side, arm) in enumerate(parts.arms.items())
    }
    return replace(parts, body=body.pixels, arms=arms)


def _above(stack: Sequence[Layer], shape: tuple[int, ...]) -> list[F32]:
    """For each layer how far (H, W) those before it cover the picture."""
    out = [np.zeros(shape, np.float32)]
    for layer in reversed(stack[1:]):
        covered = out[0].copy()
        covered[layer.box] = np.maximum(covered[layer.box], layer.pixels[..., 3] / np.float32(255))
        out.insert(0, covered)
    return out


def _settled(picture: U8, layer: Layer, below: F32, above: F32) -> Layer:
    box = layer.box
    alpha = layer.pixels[..., 3:].astype(np.float32) / 255
    wanted = (picture[box] - (1 - alpha) * below[box]) / np.maximum(alpha, _LEAST)
    seen = (alpha[..., 0] > _LEAST) & (alpha[..., 0] < 1) & (above[box] < _COVERED)
    colours = np.where(seen[..., None], np.clip(wanted + 0.5, 0, 255), layer.pixels[..., :3])
    pixels = np.dstack([colours.astype(np.uint8), layer.pixels[..., 3]])
    return Layer(pixels, layer.origin)
