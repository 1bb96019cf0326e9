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

from pipeline.landmarkers import SIDES, Side
from pipeline.models.mini.enrolment import (
    arm_layers,
    arm_regions,
    completion,
    hidden_shapes,
    masks,
    matting,
    person_mask,
    pure_colours,
)
from pipeline.models.mini.enrolment.arm_layers import MIXED, ArmCut
from pipeline.models.mini.enrolment.arm_regions import ArmBones
from pipeline.models.mini.enrolment.layer_colours import settled
from pipeline.models.mini.enrolment.person_parts import PersonParts

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_INNER: Final = 0.004  # of the longer side: the soft border's width inside the outline ...
_OUTER: Final = 0.004  # ... and outside of it ...
_ELBOW: Final = 1.1  # of an arm's girth around its forearm's bone: no background
_HAIR: Final = 0.010  # ... and around the head


@dataclass(frozen=True, slots=True)
class PersonPoints:
    """What networks found of one person in a picture (H, W); places in px."""

    body: F32  # (33, >= 2) points of the body in MediaPipe's order
    mask: F32  # (H, W) the body network's mask, 0..1
    hands: Mapping[Side, F32]  # (21, >= 2) points of each hand that was found


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
    colours = masks.byte(pure_colours.pure_colours(masks.unit(picture), matte))
    with ThreadPoolExecutor(2, "parts") as pool:  # their kernels hold no lock
        plate = pool.submit(_plate, picture, matte, cuts)
        drawn = [pool.submit(arm_layers.arm_layer, picture, colours, matte, cut) for cut in cuts]
        body = _body(colours, matte, cuts, small)
    arms = {arm.side: arm for arm in (each.result() for each in drawn)}
    return settled(picture, PersonParts(plate.result(), body, arms, matte))


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
        core = arm_regions.seeds(body, mask.shape, list(bones.values()))
        share = person_mask.person_share(small, mask, hands, np.asarray(core.any(0)))
        labels = np.zeros(share.shape, np.int64)
        if bones:
            shares = arm_regions.shares(small, share, body, list(bones.values()))
            labels = arm_regions.labels(small, shares, share, body)
        return cls(share, labels, bones, body, (high, wide))

    def enlarged(self, share: NDArray[np.generic]) -> F32:
        """A share of the small picture in the full one, its border smooth."""
        soft = masks.soft(share, 0.7)
        wide = cv2.resize(soft, self.full[::-1], interpolation=cv2.INTER_CUBIC)
        return np.asarray(wide, np.float32)

    def cuts(self, picture: U8, matte: F32) -> list[ArmCut]:
        """The arms cut out, the left one first."""
        factor = self.full[1] / self.person.shape[1]
        out = []
        for number, (side, bones) in enumerate(self.arms.items()):
            whole = self.enlarged(np.isin(self.labels, (1 + 2 * number, 2 + 2 * number)))
            lower = self.enlarged(self.labels == 2 + 2 * number)
            out.append(arm_layers.cut_arm(picture, matte, side, bones.scaled(factor), whole, lower))
        return out

    def trunk(self, cuts: list[ArmCut]) -> tuple[F32, Mask, Mask]:
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


def _plate(picture: U8, matte: F32, cuts: list[ArmCut]) -> U8:
    """The background; where elbows are it is filled in however little of them was found."""
    gone = masks.grown(matte > 0.005, 2 * MIXED * max(matte.shape))
    for cut in cuts:
        gone |= arm_regions.along(matte.shape, cut.bones.elbow, cut.bones.wrist)[1] < (
            _ELBOW * cut.bones.girth
        )
    if gone.all():
        return picture.copy()
    return completion.complete(picture, gone, ~gone)


def _body(colours: U8, matte: F32, cuts: list[ArmCut], small: _Small) -> U8:
    """Head and trunk; cloth is copied from what is seen of the trunk."""
    if not cuts:
        return np.dstack([colours, masks.byte(matte)])
    reach, own, hidden = small.trunk(cuts)
    mixed = MIXED * max(matte.shape)
    rim = masks.grown(np.any([cut.lower > 0.1 for cut in cuts], axis=0), 2 * mixed)
    hole = (masks.grown(hidden, 2 * mixed) & ~masks.shrunk(own, 2 * mixed)) | (rim & (reach > 0))
    below = np.arange(len(matte))[:, None] > cuts[0].bones.shoulder[1] - cuts[0].bones.girth
    source = masks.shrunk(own & (matte > 0.97), mixed) & below & ~hole
    filled = completion.complete(colours, hole, source)
    return np.dstack([filled, masks.byte(matte * reach)])
