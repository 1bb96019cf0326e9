"""From a picture of a person and its landmarks to layers that can move.

The order: the person's outline (``person_mask``), its soft matte (``matting``), which pixels are
an arm's (``arm_regions``), what the arms hide (``hidden_shapes``), and what is to be seen there
(``completion``).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import (
    arm_regions,
    completion,
    hidden_shapes,
    masks,
    matting,
    person_mask,
    pure_colours,
)
from pipeline.models.mini.enrolment.arm_regions import ArmBones
from pipeline.models.mini.enrolment.person_parts import (
    SIDES,
    ArmLayer,
    Layer,
    PersonParts,
    Side,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_INNER: Final = 0.004  # of the longer side: the soft border's width inside the outline ...
_OUTER: Final = 0.004  # ... and outside of it ...
_HAIR: Final = 0.010  # ... and around the head
_BETWEEN: Final = 0.0025  # the same for borders between parts of the person
_MIXED: Final = 0.003  # of the longer side: pixels that near to a border are not copied from
_PAD: Final = 8  # px around a layer


@dataclass(frozen=True, slots=True)
class PersonPoints:
    """What networks found of one person in a picture (H, W); places in px."""

    body: F32  # (33, >= 2) points of the body in MediaPipe's order; a third column is depth
    mask: F32  # (H, W) the body network's mask, 0..1
    hands: Mapping[Side, F32]  # (21, >= 2) points of each hand that was found
    presence: Mapping[Side, float]  # of those hands


@dataclass(frozen=True, slots=True)
class _Cut:
    """One arm's alphas (H, W), and where its upper arm is hidden."""

    side: Side
    bones: ArmBones
    upper: F32
    lower: F32
    kept: F32  # of the upper arm, what the trunk's layer shows as well
    pure: F32  # the lower arm's, without what fades at the elbow
    seen: Mask  # upper arm that is not hidden
    hidden: Mask


def take_apart(picture: U8, points: PersonPoints) -> PersonParts:
    """All layers of a picture (H, W, 3). Raises ``ValueError`` where there is no person in it."""
    if points.mask.shape != picture.shape[:2]:
        raise ValueError(f"a mask {points.mask.shape} does not fit a picture {picture.shape[:2]}")
    small = _Small.of(picture, points)
    share = small.enlarged(small.person)
    matte = matting.matte(
        picture, share, _INNER * max(share.shape), _border(share.shape, points.body)
    )
    if not (matte > 0.5).any():
        raise ValueError("no person is seen in the picture")
    cuts = small.cuts(picture, matte)
    pure = pure_colours.pure_colours(masks.unit(picture), matte)[0]
    colours = masks.byte(pure)
    with ThreadPoolExecutor(1, "plate") as pool:  # its kernels hold no lock
        plate = pool.submit(_plate, picture, matte)
        body = _body(colours, matte, cuts, small)
        arms = {cut.side: _arm(picture, colours, matte, cut, points) for cut in cuts}
    front = np.zeros((*matte.shape, 4), np.uint8)
    return PersonParts(plate.result(), body, arms, front, matte)


@dataclass(frozen=True, slots=True)
class _Small:
    """Regions of the picture at a size where they are found fast."""

    person: F32  # (h, w)
    labels: NDArray[np.int64]  # (h, w) of ``arm_regions``
    arms: Mapping[Side, ArmBones]  # in this size
    body: F32
    full: tuple[int, int]  # H, W

    @classmethod
    def of(cls, picture: U8, points: PersonPoints) -> _Small:
        high, wide = picture.shape[:2]
        factor = min(person_mask.SIDE / max(high, wide), 1.0)
        size = (max(1, round(wide * factor)), max(1, round(high * factor)))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = masks.reduced(points.mask.astype(np.float32), size)
        hands: dict[Side, F32] = {
            side: (points.hands[side][:, :2] * factor).astype(np.float32)
            for side in SIDES
            if side in points.hands
        }
        body = (points.body[:, :2] * factor).astype(np.float32)
        bones = arm_regions.bones_of(body, hands)
        share = person_mask.person_share(small, mask, hands)
        labels = np.zeros(share.shape, np.int64)
        if bones:
            labels = arm_regions.shares(small, share, body, list(bones.values())).argmax(0)
        return cls(share, labels, bones, body, (high, wide))

    def enlarged(self, share: NDArray[np.generic]) -> F32:
        """A share of the small picture in the full one, its border smooth."""
        soft = masks.soft(share, 0.7)
        wide = cv2.resize(soft, self.full[::-1], interpolation=cv2.INTER_CUBIC)
        return np.asarray(wide, np.float32)

    def cuts(self, picture: U8, matte: F32) -> list[_Cut]:
        """The arms cut out, the one further back first."""
        factor = self.full[1] / self.person.shape[1]
        return [
            self._cut(picture, matte, side, number, factor) for number, side in enumerate(self.arms)
        ]

    def _cut(self, picture: U8, matte: F32, side: Side, number: int, factor: float) -> _Cut:
        bones = self.arms[side].scaled(factor)
        between = _BETWEEN * max(self.full)
        whole = np.isin(self.labels, (1 + 2 * number, 2 + 2 * number))
        arm = matting.matte(picture, self.enlarged(whole), between, between)
        below = self.labels == 2 + 2 * number
        lower = matting.matte(picture, self.enlarged(below), between, between)
        shared = hidden_shapes.elbow_round(bones, self.full)
        ends = np.maximum(lower, arm * (shared > 0)).astype(np.float32)
        lower = np.maximum(lower, shared * arm)
        upper_seen = (arm > 0.5) & (self.enlarged(below) < 0.5)
        beneath = hidden_shapes.sleeve_beneath(upper_seen, self.enlarged(below) >= 0.5, bones)
        seen = upper_seen | ((shared > 0.5) & (arm > 0.5))
        kept = hidden_shapes.shoulder_cloth(bones, self.full)
        region = masks.soft(
            masks.grown(upper_seen, 2) | beneath | ((shared > 0.02) & (arm > 0.5)), 1.0
        )
        upper = np.maximum(arm, lower) * region
        return _Cut(
            side, bones, (matte * upper).astype(np.float32), (matte * lower).astype(np.float32),
            kept, (matte * ends).astype(np.float32), seen, beneath & ~seen,
        )  # fmt: skip

    def trunk(self, cuts: list[_Cut]) -> tuple[F32, Mask, Mask]:
        """How far (H, W) the body's layer reaches, what is seen of it, and what arms hide of it."""
        seen = (self.labels == arm_regions.TRUNK) & (self.person > 0.5)
        arm = (self.labels != arm_regions.TRUNK) & (self.person > 0.5)
        girth = next(iter(self.arms.values())).girth if self.arms else 1.0
        behind = hidden_shapes.trunk_behind(seen, arm, self.body, girth)
        trunk = self.labels == arm_regions.TRUNK
        shape = self.enlarged(masks.soft(trunk | behind, 1.6))
        own = self.enlarged(trunk) > 0.5
        kept = np.zeros(self.full, np.float32)
        for cut in cuts:
            kept = np.maximum(kept, cut.kept * (cut.seen | own))
        reach = np.maximum(np.clip(2 * shape - 0.5, 0, 1), kept).astype(np.float32)
        hidden = ~own & (reach > 0) & ~((kept > 0) & np.any([c.seen for c in cuts], axis=0))
        return reach, own, hidden


def _border(shape: tuple[int, ...], body: F32) -> F32:
    """Px (H, W) that the soft border reaches outwards: further around the head."""
    side = max(shape)
    shoulders = float(body[11:13, 1].mean())
    head = float(np.clip(shoulders - body[0, 1], 1, None))
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    near = np.clip((shoulders - 0.15 * head - rows) / (0.3 * head), 0, 1)
    return np.asarray((_OUTER + (_HAIR - _OUTER) * near) * side * np.ones(shape), np.float32)


def _plate(picture: U8, matte: F32) -> U8:
    gone = masks.grown(matte > 0.02, _MIXED * max(matte.shape))
    return completion.complete(picture, gone, ~gone)


def _body(colours: U8, matte: F32, cuts: list[_Cut], small: _Small) -> U8:
    """Head and trunk; cloth is copied from what is seen of the trunk."""
    if not cuts:
        return np.dstack([colours, masks.byte(matte)])
    reach, own, hidden = small.trunk(cuts)
    mixed = _MIXED * max(matte.shape)
    hole = masks.grown(hidden, mixed) & ~masks.shrunk(own, mixed)
    below = np.arange(len(matte))[:, None] > cuts[0].bones.shoulder[1] - cuts[0].bones.girth
    source = masks.shrunk(own & (matte > 0.97), mixed) & below
    filled = completion.complete(colours, hole, source)
    return np.dstack([filled, masks.byte(matte * reach)])


def _arm(picture: U8, colours: U8, matte: F32, cut: _Cut, points: PersonPoints) -> ArmLayer:
    mixed = _MIXED * max(matte.shape)
    solid = masks.shrunk(cut.seen & (matte > 0.97), mixed)
    hole = masks.grown(cut.hidden, 2 * mixed) & ~solid
    filled = completion.complete(colours, hole, solid)
    hand = _own_colours(picture, colours, cut.pure)
    bones = cut.bones
    depth = points.body[:, 2] if points.body.shape[1] > 2 else np.zeros(33, np.float32)
    order = (11, 13, 15, 19) if cut.side == "left" else (12, 14, 16, 20)
    return ArmLayer(
        cut.side,
        _layer(filled, cut.upper),
        _layer(hand, cut.lower),
        _place(bones.shoulder),
        _place(bones.elbow),
        _place(bones.wrist),
        bones.hand,
        depth[list(order)].astype(np.float32),
        float(points.presence[cut.side]),
        True,
    )


def _own_colours(picture: U8, colours: U8, alpha: F32) -> U8:
    """The picture's colours without what shows through at a layer's own border."""
    if not (alpha > 0.01).any():
        return colours
    box = masks.box(alpha > 0.01, 24)
    own = pure_colours.pure_colours(masks.unit(picture[box]), alpha[box])[0]
    out = colours.copy()
    out[box] = masks.byte(own)
    return out


def _layer(colours: U8, alpha: F32) -> Layer:
    """The box of what is seen of a layer, with some room around it."""
    if not (alpha > 0.01).any():
        return Layer(np.zeros((1, 1, 4), np.uint8), (0, 0))
    box = masks.box(alpha > 0.01, _PAD)
    return Layer(np.dstack([colours[box], masks.byte(alpha[box])]), (box[1].start, box[0].start))


def _place(point: F32) -> tuple[float, float]:
    return float(point[0]), float(point[1])
