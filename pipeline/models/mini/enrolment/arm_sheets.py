"""A person taken apart becomes sheets that bend: the body, and arms with their bones.

Nodes of an arm's layers are weighted by where they lie along its bones. The upper arm begins with
the trunk; the forearm begins with the upper arm; around the hand's points all is hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import loose_parts, masks
from pipeline.models.mini.enrolment.person_parts import ArmLayer, Layer, PersonParts
from pipeline.models.mini.enrolment.picture_cut import TEXELS, PictureCut
from pipeline.models.mini.enrolment.picture_view import PictureView
from pipeline.models.mini.enrolment.surface import LAYERS, PARTS
from pipeline.models.mini.enrolment.vertex_table import VertexTable
from pipeline.models.mini.renderer import warp_layer
from pipeline.models.mini.renderer.limb_warp import Limb, MovingArm
from pipeline.models.mini.renderer.warp_layer import Sheet
from pipeline.models.mini.rig.arm_motion import (
    BONES,
    DIRECTIONS,
    FINGER,
    FOREARM,
    HAND,
    TORSO,
    UPPER,
    ArmBones,
)

F32 = NDArray[np.float32]

_CELL: Final = 4.0  # px a side of an arm's quads, in a picture of 512: fingers bend
_BEGINS: Final = (0.05, 0.4)  # of the upper arm: from the trunk's motion to its own
_ELBOW: Final = (-0.2, 0.7)  # of half a hand nearer to the forearm: to its motion from the other
_HAND: Final = (0.3, 0.7)  # of half a hand's length around it: from its motion to the forearm's
_FINGER: Final = (0.12, 0.4)  # of half a hand's length beside a finger: to the hand's motion
_ROOT: Final = (0.1, 0.5)  # of a finger's length from its base: from the hand's motion to its own
_HELD: Final = 0.15  # of the frame's height along its border: from standing still to moving
_CHAINS: Final = ((2, 4), (5, 8), (9, 12), (13, 16), (17, 20))  # base and tip of each finger


def body(
    seen: PictureView, table: VertexTable, parts: PersonParts, arms: Sequence[MovingArm] = ()
) -> Sheet:
    """The body without these arms, as a sheet that follows trunk and head.

    Where the frame cuts it off it stays, for beyond there is nothing to draw.
    """
    apart = {arm.side for arm in arms}
    texture = seen.cut.taken(parts.body_with(side for side in parts.arms if side not in apart))
    alpha = _alpha(texture)
    sheet = _sheet(seen, table, texture[..., :3], alpha, warp_layer.CELL)
    return replace(sheet, grip=sheet.grip * _off_border(sheet.nodes, seen.cut))


def _off_border(nodes: F32, cut: PictureCut) -> F32:
    """0 at the frame's sides and bottom, 1 from ``_HELD`` of its height inwards: (M,)."""
    x, y = nodes[:, 0], nodes[:, 1]
    near = np.minimum(np.minimum(x, cut.width - x), cut.height - y)
    return _smooth(np.asarray(near, np.float32), 0.0, _HELD * cut.height)


def bones_of(cut: PictureCut, arm: ArmLayer, metre: float) -> ArmBones:
    """An arm's bones in px of the frame, of which ``metre`` make one."""
    hand = cut.places(arm.hand)
    joints = cut.places(np.array([arm.shoulder, arm.elbow, arm.wrist], np.float32))
    fingers = np.stack([hand[list(chain)] for chain in _CHAINS])
    return ArmBones(joints[0], joints[1], joints[2], fingers, metre)


def moving_arms(seen: PictureView, table: VertexTable, parts: PersonParts) -> tuple[MovingArm, ...]:
    """The arms on their bones, in the order in which they are drawn, their reach still unknown.

    An arm of whose forearm and hand the frame shows nothing is none.
    """
    shape = parts.matte.shape
    metre = _metre(seen)
    arms = (_moving(seen, table, arm, (shape[0], shape[1]), metre) for arm in parts.arms.values())
    return tuple(arm for arm in arms if arm is not None)


def _metre(seen: PictureView) -> float:
    """Px of the frame in a metre at the person."""
    return seen.cut.camera.focal * seen.cut.height / seen.cut.camera.distance


def _moving(
    seen: PictureView, table: VertexTable, arm: ArmLayer, shape: tuple[int, int], metre: float
) -> MovingArm | None:
    """One arm; ``shape`` is the picture's."""
    bones = bones_of(seen.cut, arm, metre)
    lower = _limb(seen, table, arm.lower, shape, bones, lower_weights)
    if lower is None:
        return None
    upper = _limb(seen, table, arm.upper, shape, bones, upper_weights)
    limbs = (lower,) if upper is None else (upper, lower)
    return MovingArm(arm.side, bones, limbs, np.zeros(DIRECTIONS, np.float32))


def _limb(
    seen: PictureView, table: VertexTable, layer: Layer, shape: tuple[int, int], bones: ArmBones,
    weigh: Callable[[F32, ArmBones], F32],
) -> Limb | None:  # fmt: skip
    (x, y), (high, wide) = layer.origin, layer.pixels.shape[:2]
    whole = np.zeros((*shape, 4), np.uint8)
    whole[y : y + high, x : x + wide] = layer.pixels
    texture = seen.cut.taken(whole)
    alpha = _alpha(texture)
    if not (alpha > 0).any():
        return None
    box = masks.box(alpha > 0, 0)
    sheet = _sheet(seen, table, texture[..., :3], alpha, _CELL, bones.shoulder)
    sheet = replace(
        sheet,
        texture=np.ascontiguousarray(sheet.texture[box]),
        corner=(box[1].start / TEXELS, box[0].start / TEXELS),
    )
    return Limb(sheet, weigh(sheet.nodes, bones))


def _alpha(texture: F32) -> F32:
    """The alpha (H, W) of straight RGBA, 0..1."""
    return np.asarray(np.clip(texture[..., 3] / 255, 0, 1), np.float32)


def _sheet(
    seen: PictureView, table: VertexTable, colours: F32, alpha: F32, cell: float,
    also: F32 | None = None,
) -> Sheet:  # fmt: skip
    """A sheet that follows trunk and head, and does not tear."""
    of_trunk = np.isin(seen.surface.layer, [LAYERS.index(name) for name in PARTS[0]])
    made = warp_layer.build(
        loose_parts.packed(colours, alpha), alpha, alpha > 0, table.points, table.seen * of_trunk,
        seen.cut.width, seen.cut.height, cell=cell, also=also,
    )  # fmt: skip
    return replace(made, tears=False)


def upper_weights(nodes: F32, bones: ArmBones) -> F32:
    """How far (M, BONES) nodes of the upper arm's layer follow each bone."""
    out = np.zeros((len(nodes), BONES), np.float32)
    own = _smooth(_share(nodes, bones.shoulder, bones.elbow), *_BEGINS)
    nearer = _distance(nodes, bones.shoulder, bones.elbow)
    nearer -= _distance(nodes, bones.elbow, bones.wrist)
    fore = _smooth(nearer / bones.hand, *_ELBOW)
    out[:, TORSO], out[:, UPPER] = (1 - own) * (1 - fore), own * (1 - fore)
    out[:, FOREARM] = fore
    return out


def lower_weights(nodes: F32, bones: ArmBones) -> F32:
    """How far (M, BONES) nodes of the layer of forearm and hand follow each bone.

    Away from the hand they move as the upper arm's layer does, so that nothing shows where one
    layer goes over into the other.
    """
    hand = 1 - _smooth(_from_hand(nodes, bones) / bones.hand, *_HAND)
    out = upper_weights(nodes, bones) * (1 - hand)[:, None]
    flex = np.stack([_of_finger(nodes, base, tip, bones.hand) for base, tip in bones.fingers], 1)
    flex /= np.maximum(flex.sum(1, keepdims=True), 1)
    out[:, HAND] = hand * (1 - flex.sum(1))
    out[:, FINGER:] = hand[:, None] * flex
    return out


def _of_finger(nodes: F32, base: F32, tip: F32, size: float) -> F32:
    beside = 1 - _smooth(_distance(nodes, base, tip) / size, *_FINGER)
    return np.asarray(beside * _smooth(_share(nodes, base, tip), *_ROOT), np.float32)


def _from_hand(nodes: F32, bones: ArmBones) -> F32:
    """Px (M,) from the hand: its palm and its fingers."""
    knuckles = bones.fingers[:, 0]
    segments = [(bones.wrist, knuckle) for knuckle in knuckles]
    segments += [(base, tip) for base, tip in bones.fingers]
    segments += [(a, b) for a, b in zip(knuckles, knuckles[1:], strict=False)]
    return np.asarray(np.min([_distance(nodes, a, b) for a, b in segments], axis=0), np.float32)


def _share(nodes: F32, a: F32, b: F32) -> F32:
    """How far (M,) along the bone from a to b each node lies: 0 at a, 1 at b."""
    bone = b - a
    return np.asarray((nodes - a) @ bone / max(float(bone @ bone), 1e-6), np.float32)


def _distance(nodes: F32, a: F32, b: F32) -> F32:
    """Px (M,) from the segment."""
    nearest = a + np.clip(_share(nodes, a, b), 0, 1)[:, None] * (b - a)
    return np.asarray(np.linalg.norm(nodes - nearest, axis=1), np.float32)


def _smooth(value: F32, low: float, high: float) -> F32:
    return masks.smoothstep((value - low) / (high - low))
