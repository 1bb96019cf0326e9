"""How far each arm of a picture may move: swept in every direction, and judged as drawn.

In each direction the wrist goes on while the hand stays in the frame and off the face, the arm
stays in one piece and its cut end out of sight, no bone is stretched into a smear, and no more is
laid bare than the filled layers below stand. A hand that can hardly move stays, with the reason in
plain words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.models.mini.renderer import layer_warp
from pipeline.models.mini.renderer.limb_warp import Limb, MovingArm, bend
from pipeline.models.mini.renderer.texture_sampling import tables
from pipeline.models.mini.rig.arm_motion import (
    DIRECTIONS,
    FOREARM,
    HAND,
    ArmBones,
    Gesture,
    transforms,
)

F32 = NDArray[np.float32]

_STEPS: Final = (0.02, 0.04, 0.06, 0.08, 0.10, 0.12)  # of the frame's height
_OVER: Final = 1.1  # a reach is bent towards: it is a little further than what was tried
_LEAST: Final = 0.03  # of the frame's height, on average: an arm that moves less stays
_EDGE: Final = 0.01  # of the frame's height that a hand keeps from the frame's border
_STRETCH: Final = (
    2.3  # of a forearm, the most; in its length at rest or half a hand, the longer ...
)
_SHRUNK: Final = 0.6  # ... and the least, of the same
_PIECE: Final = 0.94  # of the arm's area that must hang together
_NOTCH: Final = 0.25  # of half a hand: half the width of gaps between pieces of an arm, which ...
_TORN: Final = 0.04  # ... may grow by so much of the area of a circle as wide as half a hand, ...
_DEEPER: Final = 2.0  # ... or, where a bend is seen in the picture, to so much of what it is there
_BARE: Final = 1.25  # of the hand's and forearm's area that may be laid bare
_SLIPS: Final = 3  # pixels of every second row that a cut may slip along the frame's border
_BRIDGE: Final = 0.85  # of the line from elbow to wrist that is arm ...
_SAMPLES: Final = 24  # ... of so many places on it
_TOUCH: Final = 0.35  # of half a hand between the points of hands that touch
_STILL: Final = np.zeros(2, np.float32)
_CALM: Final = np.zeros(5, np.float32)


@dataclass(frozen=True, slots=True)
class Limits:
    """All arms with their reach, none for those that stay, and why these do."""

    arms: tuple[MovingArm, ...]
    still: Mapping[str, str]  # side -> reason


def limited(arms: tuple[MovingArm, ...], face: F32, width: int, height: int) -> Limits:
    """Find the reach of every arm. ``face`` (N, 2) are places of the face, px of the frame."""
    out, still = [], {}
    for arm in arms:
        reach, reasons = _Sweep(arm, face, width, height).reach()
        if reach.mean() < _LEAST * height:
            still[arm.side] = reasons.most_common(1)[0][0]
            reach = np.zeros_like(reach)
        out.append(replace(arm, reach=reach))
    if len(out) == 2 and touching(out[0].bones, out[1].bones):
        least = np.minimum(out[0].reach, out[1].reach)
        out = [replace(arm, reach=least, joined=True) for arm in out]
        still = {arm.side: reason for arm in out for reason in still.values()}
    return Limits(tuple(out), still)


def touching(one: ArmBones, other: ArmBones) -> bool:
    """Whether two hands touch, or nearly so."""
    apart = one.outline[:, None] - other.outline[None]
    nearest = float(np.hypot(apart[..., 0], apart[..., 1]).min())
    return nearest < _TOUCH * (one.hand + other.hand) / 2


class _Sweep:
    """One arm, drawn alone in any of its poses."""

    def __init__(self, arm: MovingArm, face: F32, width: int, height: int) -> None:
        self._arm, self._face = arm, face
        self._width, self._height = width, height
        self._limbs = tuple(_white(limb) for limb in arm.limbs)
        self._tables, self._free = tables(), np.zeros((height, width), np.bool_)
        self._rest = self._drawn(_STILL)
        self._own = self._drawn(_STILL, self._limbs[-1:])
        self._within_at_rest = self._within(arm.bones.outline)
        self._largest_at_rest = _largest(self._rest)
        self._bridged_at_rest = self._bridged(self._rest, _STILL)
        self._notches_at_rest = self._notches(self._rest)

    def reach(self) -> tuple[F32, Counter[str]]:
        """Px in every direction, smoothed, and what stopped the arm how often."""
        out, reasons = np.zeros(DIRECTIONS, np.float32), Counter[str]()
        for number in range(DIRECTIONS):
            angle = 2 * math.pi * number / DIRECTIONS
            way = np.array([math.cos(angle), math.sin(angle)], np.float32) * self._height
            for step in _STEPS:
                if (reason := self._fault(way * step)) is not None:
                    reasons[reason] += 1
                    break
                out[number] = _OVER * step * self._height
        around = np.stack([np.roll(out, k) for k in (-1, 0, 1)])
        return np.minimum(out, around.mean(0)).astype(np.float32), reasons

    def _fault(self, shift: F32) -> str | None:
        """Why the arm may not go there, if it may not."""
        maps = self._maps(shift)
        hand = self._hand(maps)
        if (self._within_at_rest & ~self._within(hand)).any():
            return "the hand would leave the picture"
        if self._on_face(hand):
            return "the hand would cover the face"
        if not _SHRUNK < self._stretch(maps) < _STRETCH:
            return "the forearm would be stretched too far"
        return self._fault_as_drawn(shift)

    def _fault_as_drawn(self, shift: F32) -> str | None:
        now = self._drawn(shift)
        if _largest(now) < _PIECE * self._largest_at_rest * now.sum() / max(self._rest.sum(), 1):
            return "the arm would come apart"
        if self._bridged(now, shift) < min(self._bridged_at_rest, _BRIDGE):
            return "the arm would come apart"
        if self._notches(now) > _DEEPER * self._notches_at_rest + _TORN:
            return "the arm would come apart"
        if (_border(self._rest) & ~_border(now)).sum() > _SLIPS:
            return "the picture cuts the arm off at its border"
        bare = (self._own & ~now).sum()
        if bare > _BARE * self._own.sum():
            return "too much that the picture hides would be seen"
        return None

    def _notches(self, drawn: NDArray[np.bool_]) -> float:
        """Narrow gaps in what is drawn, as a sleeve that tears has, of a circle of half a hand."""
        half = self._arm.bones.hand / 2  # px of every second row
        reach = max(2, round(_NOTCH * half))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach + 1,) * 2)
        mask = np.pad(drawn.astype(np.uint8), 4 * reach)
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        return float((closed > mask).sum()) / (math.pi * half * half)

    def _bridged(self, drawn: NDArray[np.bool_], shift: F32) -> float:
        """How much of the line from elbow to wrist is drawn as arm, 0..1."""
        maps, bones = self._maps(shift)[FOREARM], self._arm.bones
        line = np.linspace(bones.elbow, bones.wrist, _SAMPLES) @ maps[:, :2].T + maps[:, 2]
        column, row = (line / 2).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < drawn.shape[1]) & (row < drawn.shape[0])
        return float(drawn[row[inside], column[inside]].mean()) if inside.any() else 1.0

    def _within(self, hand: F32) -> NDArray[np.bool_]:
        """Which of a hand's places keep their distance from the frame's border."""
        edge = _EDGE * self._height
        most = np.array([self._width, self._height]) - edge
        return np.asarray((hand >= edge).all(1) & (hand <= most).all(1))

    def _hand(self, maps: F32) -> F32:
        return np.asarray(
            self._arm.bones.outline @ maps[HAND, :, :2].T + maps[HAND, :, 2], np.float32
        )

    def _on_face(self, hand: F32) -> bool:
        low, high = self._face.min(0), self._face.max(0)
        return bool(((hand > low) & (hand < high)).all(1).any())

    def _stretch(self, maps: F32) -> float:
        """How long the forearm is, 1 as in the picture."""
        bones = self._arm.bones
        rest = float(np.linalg.norm(bones.wrist - bones.elbow))
        now = float(np.linalg.norm(maps[FOREARM, :, :2] @ (bones.wrist - bones.elbow)))
        return 1 + (now - rest) / max(rest, bones.hand)

    def _maps(self, shift: F32) -> F32:
        bones = self._arm.bones
        reach = np.full(DIRECTIONS, 1e6, np.float32)
        gesture = Gesture(shift / np.float32(bones.metre), 0.0, _CALM)
        return transforms(bones, gesture, reach, bones.shoulder)

    def _drawn(self, shift: F32, limbs: tuple[Limb, ...] | None = None) -> NDArray[np.bool_]:
        """Pixels (H, W) that these layers cover, the trunk at rest."""
        maps, out = self._maps(shift), np.zeros((self._height, self._width, 3), np.uint8)
        for limb in limbs or self._limbs:
            nodes = limb.sheet.nodes.copy()
            bend(limb.sheet.nodes, limb.weights, maps, nodes)
            layer_warp.draw(limb.sheet, nodes, self._free, self._tables, out)
        return np.asarray(out[::2, ::2, 0] > 127)


def _white(limb: Limb) -> Limb:
    """The layer with its colours white, so that what is drawn of it is its coverage."""
    texture = limb.sheet.texture | np.uint32(0x00FFFFFF)
    return replace(limb, sheet=replace(limb.sheet, texture=texture))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's outermost rows and columns in one line."""
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _largest(mask: NDArray[np.bool_]) -> int:
    """The area of the largest piece."""
    labels, count = ndimage.label(mask)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0
