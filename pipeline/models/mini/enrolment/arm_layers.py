"""An arm's two layers: what is seen of upper and lower arm, and the upper arm beneath the lower.

The lower arm lies before the upper. Where it hides it, the upper arm goes on to its round end at
the elbow: as cloth where it is seen to be cloth, and as the forearm is beyond its sleeve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import Side
from pipeline.models.mini.enrolment import (
    completion,
    hand_shapes,
    hidden_shapes,
    layer_colours,
    masks,
    matting,
)
from pipeline.models.mini.enrolment.arm_regions import ArmBones
from pipeline.models.mini.enrolment.person_parts import ArmLayer, Layer

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_BETWEEN: Final = 0.0025  # of the longer side: the soft border's width between an arm's parts
MIXED: Final = 0.003  # of the longer side: pixels that near to a border are not copied from
_JOINED: Final = 0.4  # of the girth: further from the forearm an elbow is not its
_PAD: Final = 8  # px around a layer
_OTHER: Final = 25.0  # levels of Lab between sleeve and forearm that are two stuffs
_ENOUGH: Final = 40  # px of a forearm that tell what it is


@dataclass(frozen=True, slots=True)
class ArmCut:
    """One arm's alphas (H, W), and where its upper arm is hidden."""

    side: Side
    bones: ArmBones
    upper: F32
    lower: F32
    pure: F32  # the lower arm's, without what fades at the elbow
    kept: F32  # of the upper arm, what the trunk's layer shows as well
    seen: Mask  # upper arm that is not hidden
    hidden: Mask  # upper arm that is


def cut_arm(picture: U8, matte: F32, side: Side, bones: ArmBones, whole: F32, below: F32) -> ArmCut:
    """Cut an arm out of the picture, by the shares (H, W) of all of it and of its lower arm."""
    between = _BETWEEN * max(matte.shape)
    arm = matting.matte(picture, whole, between, between)
    lower = matting.matte(picture, below, between, between)
    near = masks.grown(below > 0.5, _JOINED * bones.girth)
    shared = hidden_shapes.elbow_round(bones, matte.shape) * masks.soft(near, 2.0)
    under = masks.grown(lower > 0.05, between)
    ends = np.maximum(lower, arm * (shared > 0))
    lower = np.maximum(lower, shared * arm)
    inside = matte > 0.5
    bare = masks.opened((arm > 0.5) & (below < 0.5) & ~under & inside, between)
    beneath = hidden_shapes.sleeve_beneath(bare, (below >= 0.5) & inside, bones)
    seen = bare | ((shared > 0.02) & (arm > 0.5))
    region = masks.grown(bare, 3 * between) | beneath | seen
    upper = np.maximum(arm, lower) * masks.soft(region, 1.0)
    return ArmCut(
        side, bones, np.asarray(matte * upper, np.float32), np.asarray(matte * lower, np.float32),
        np.asarray(matte * ends, np.float32), hidden_shapes.shoulder_cloth(bones, matte.shape),
        seen, region & ~seen,
    )  # fmt: skip


def arm_layer(picture: U8, colours: U8, matte: F32, cut: ArmCut) -> ArmLayer:
    """The arm's layers in their colours."""
    mixed = MIXED * max(matte.shape)
    solid = masks.shrunk(cut.seen & (matte > 0.97), mixed)
    hole = masks.grown(cut.hidden, 2 * mixed) & ~solid
    filled = _forearm_beyond(colours, completion.complete(colours, hole, solid), solid, hole, cut)
    hand = layer_colours.own_colours(picture, colours, cut.pure)
    bones = cut.bones
    return ArmLayer(
        cut.side, _layer(filled, cut.upper), _layer(hand, cut.lower), _place(bones.shoulder),
        _place(bones.elbow), _place(bones.wrist), bones.hand,
    )  # fmt: skip


def _forearm_beyond(colours: U8, filled: U8, solid: Mask, hole: Mask, cut: ArmCut) -> U8:
    """What is hidden beyond a sleeve's end, in the forearm's stuff, if that is another."""
    flesh = hand_shapes.flesh(cut.bones.hand, solid.shape)
    forearm = (cut.pure > 0.97) & ~masks.grown(flesh, 1.0)
    forearm = masks.shrunk(forearm, 2.0)
    if forearm.sum() < _ENOUGH or solid.sum() < _ENOUGH:
        return filled
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB).astype(np.float32)
    apart = np.linalg.norm(np.median(lab[forearm], 0) - np.median(lab[solid], 0))
    beyond = hidden_shapes.beyond_sleeve(solid, cut.bones) & hole
    if apart < _OTHER or not beyond.any():
        return filled
    skin = completion.complete(filled, beyond, forearm)
    weight = masks.soft(beyond, 1.5)[..., None]
    return np.asarray(filled + weight * (skin.astype(np.float32) - filled) + 0.5, np.uint8)


def _layer(colours: U8, alpha: F32) -> Layer:
    """The box of what is seen of a layer, with some room around it."""
    if not (alpha > 0.01).any():
        return Layer(np.zeros((1, 1, 4), np.uint8), (0, 0))
    box = masks.box(alpha > 0.01, _PAD)
    return Layer(np.dstack([colours[box], masks.byte(alpha[box])]), (box[1].start, box[0].start))


def _place(point: F32) -> tuple[float, float]:
    return float(point[0]), float(point[1])
