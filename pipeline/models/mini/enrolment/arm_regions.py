"""Which pixels of a person are an arm's: bones as seeds, borders along the edges of the picture.

Hands are known by their points and their colour. Along the bones of forearm and upper arm a thin
core is the arm's for sure; so is the trunk's core the trunk's. What lies between goes to whom
nearness, colour and edges give it (``random_walk``). Where arm and trunk are one cloth the border
follows the strongest fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.landmarkers import Side
from pipeline.models.mini.enrolment import colour_model, hand_shapes, masks, random_walk

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

TRUNK: Final = 0  # of the labels; then for each arm, its upper arm and its lower arm
_GIRTH: Final = 0.17  # of the distance between the shoulders: half an upper arm with its sleeve
_TAPER: Final = (0.85, 0.55)  # of the girth: half a forearm at the elbow and at the wrist
_CORE: Final = 0.35  # of the half width: what is the arm's for sure
_UPPER_CORE: Final = (0.3, 0.85)  # of the way from shoulder to elbow
_LOWER_CORE: Final = 0.45  # of the way from elbow to wrist: from here on the core is sure
_WIDER: Final = 1.15  # trunk at the hips, against the distance of the hips' joints
_FURTHEST: Final = 1.3  # of the girth: no pixel of an arm is that far from its bone
_STRAIGHT: Final = 0.85  # trunk at the hips at least, against the shoulders
_SYMMETRIC: Final = 1.2  # of its outer half: how wide an upper arm may be inwards
_THREAD: Final = 0.12  # of the girth: what is thinner than twice that is a thread
_COUNTED: Final = 2000.0  # pixels that an arm's part counts for
_COLOURS: Final = 0.8  # what colour counts against nearness
_TRUST: Final = (0.003, 0.03)


@dataclass(frozen=True, slots=True)
class ArmBones:
    """An arm's joints, px, and how thick it is."""

    shoulder: F32  # (2,)
    elbow: F32
    hand: F32  # (21, 2)
    girth: float  # half the upper arm's width

    @property
    def wrist(self) -> F32:
        return np.asarray(self.hand[0], np.float32)

    def beside_upper(self, shape: tuple[int, ...]) -> F32:
        """Px (H, W) beside the line from shoulder to elbow, to one side above 0."""
        rows, columns = np.indices(shape[:2], dtype=np.float32)
        way = (self.elbow - self.shoulder) / max(
            float(np.linalg.norm(self.elbow - self.shoulder)), 1e-3
        )
        out = (columns - self.shoulder[0]) * way[1] - (rows - self.shoulder[1]) * way[0]
        return np.asarray(out, np.float32)

    def scaled(self, factor: float) -> ArmBones:
        """The same in a picture of another size."""
        return ArmBones(
            self.shoulder * factor, self.elbow * factor, self.hand * factor, self.girth * factor
        )


def girth(body: F32) -> float:
    """Half an upper arm's width, px, by the body's points (33, >= 2)."""
    shoulders = float(np.linalg.norm(body[11, :2] - body[12, :2]))
    trunk = float(np.linalg.norm(body[11:13, :2].mean(0) - body[23:25, :2].mean(0)))
    return _GIRTH * max(shoulders, 0.6 * trunk)


def along(shape: tuple[int, ...], start: F32, end: F32) -> tuple[F32, F32]:
    """How far along a bone (H, W), 0 at its start and 1 at its end, and px (H, W) from it."""
    rows, columns = np.indices(shape[:2], dtype=np.float32)
    way = end - start
    length = max(float(way @ way), 1e-3)
    part = ((columns - start[0]) * way[0] + (rows - start[1]) * way[1]) / length
    near = np.clip(part, 0, 1)
    away = np.hypot(columns - start[0] - near * way[0], rows - start[1] - near * way[1])
    return part.astype(np.float32), away.astype(np.float32)


def trunk_shape(body: F32, shape: tuple[int, ...], inset: float) -> Mask:
    """The trunk between shoulders and hips and on down, ``inset`` px narrower on each side."""
    left, right = body[11, :2].astype(float), body[12, :2].astype(float)
    hips = body[23:25, :2].astype(float)
    middle = hips.mean(0)
    wide = _WIDER * np.linalg.norm(hips[0] - hips[1]), _STRAIGHT * np.linalg.norm(left - right)
    hips = middle + max(wide) * (hips - middle) / max(float(np.linalg.norm(hips[0] - hips[1])), 1)
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    corners = [left - inset * across, right + inset * across, hips[1] + inset * across,
               hips[0] - inset * across]  # fmt: skip
    down = 2.0 * (middle - 0.5 * (left + right))
    corners[2:] = [*corners[2:3], corners[2] + down, corners[3] + down, *corners[3:]]
    canvas = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(canvas, [np.round(np.array(corners)).astype(np.int32)], 1)
    return canvas > 0


def shares(picture: U8, person: F32, body: F32, arms: Sequence[ArmBones]) -> F32:
    """Shares (1 + 2 A, H, W) of trunk, and of each arm its upper and its lower arm; sum 1.

    ``person`` (H, W) is the person's share, ``body`` (33, >= 2) px. Pixels beside the person go to
    what is nearest.
    """
    shape = person.shape
    prior = np.stack(
        [_trunk_prior(body, shape, arms), *(p for arm in arms for p in _arm_priors(arm, shape))]
    )
    sure = seeds(body, shape, arms)
    prior = np.where(sure.any(0), 0.02 + sure, prior + 1e-3)
    prior /= prior.sum(0)
    inside = person > 0.5
    seen = colour_model.posterior(picture, (prior * inside).astype(np.float32))
    share = prior * seen**_COLOURS
    for number in range(len(arms)):
        both = slice(1 + 2 * number, 3 + 2 * number)
        share[both] *= _stuff(picture, sure[both], arms[number]) ** _COLOURS
    share = np.where(sure.any(0), prior, share)
    share /= share.sum(0)
    clear = share.max(0)
    trust = np.where(inside, _TRUST[0] + _TRUST[1] * clear**2, 1e-5)
    trust[sure.any(0) & inside] = 1
    out = random_walk.regions(picture, share.astype(np.float32), trust.astype(np.float32))
    middle = body[[11, 12, 23, 24], :2].mean(0)
    for number, arm in enumerate(arms):
        for label, reach in enumerate(_reaches(arm, inside, middle), 1 + 2 * number):
            out[TRUNK] += np.where(reach, 0, out[label])
            out[label] *= reach
    return out


def labels(picture: U8, shares: F32, person: F32, body: F32) -> NDArray[np.int64]:
    """Labels (H, W), each in one piece: what lies loose, or hangs by a thread, goes to the next.

    A piece of an arm that a hand cuts off from its sleeve goes with the forearm.
    """
    best = np.asarray(shares.argmax(0), np.int64)
    width, trunk = girth(body), trunk_shape(body, person.shape, 0.0)
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    kept = np.zeros(best.shape, bool)
    for upper in range(1, len(shares), 2):
        mine = (best == upper) & (person > 0.5)
        loose = mine & ~masks.largest(mine)
        for piece in masks.pieces(loose):
            near = masks.grown(piece, 2) & (best == upper + 1)
            if near.any() and _alike(lab, piece, best == upper + 1, mine & ~loose):
                best[piece] = upper + 1
            elif piece.sum() > (width * _THREAD) ** 2 * 8:
                kept |= piece
    for label in range(len(shares)):
        mine = masks.opened((best == label) & (person > 0.5), _THREAD * width)
        kept |= masks.largest(mine)
        if label == TRUNK:  # arms that cross before it may cut it in pieces
            for piece in masks.pieces(mine & ~kept):
                if (piece & trunk).sum() > 0.5 * piece.sum():
                    kept |= piece
    if not kept.any():
        return best
    rows, columns = ndimage.distance_transform_edt(
        ~kept, return_distances=False, return_indices=True
    )
    return np.asarray(best[rows, columns], np.int64)


def _alike(lab: F32, piece: Mask, first: Mask, second: Mask) -> bool:
    """Whether a piece has the first region's colour rather than the second's."""
    own = np.median(lab[piece], 0)
    far = [float(np.linalg.norm(own - np.median(lab[region], 0))) for region in (first, second)]
    return far[0] < far[1]


def _stuff(picture: U8, sure: Mask, arm: ArmBones) -> F32:
    """Shares (2, H, W) of upper and lower arm by colour alone: is it as the sleeve or the hand?"""
    hand = hand_shapes.bones(arm.hand, sure.shape[1:])
    weights = np.zeros(sure.shape, np.float32)
    for part, mask in ((0, sure[0]), (1, hand), (1, sure[1] & ~hand)):
        weights[part] += mask / max(int(mask.sum()), 1)
    weights *= _COUNTED / np.maximum(weights.sum((1, 2), keepdims=True), 1e-6)
    return colour_model.posterior(picture, weights, places=1)


def _reaches(arm: ArmBones, person: Mask, middle: F32) -> tuple[Mask, Mask]:
    """Where upper and lower arm can be at all; an upper arm is as wide inwards as outwards."""
    part, _ = along(person.shape, arm.shoulder, arm.elbow)
    out = arm.beside_upper(person.shape)
    out = out * np.sign(float(out[_pixel(middle, person.shape)]) or 1.0) * -1
    clear = person & (part > 0.3) & (part < 0.8) & (out > 0) & (out < _FURTHEST * arm.girth)
    outer = float(np.percentile(out[clear], 90)) if clear.sum() > 30 else arm.girth
    inner = float(np.clip(_SYMMETRIC * outer, 0.75 * arm.girth, _FURTHEST * arm.girth))
    inner = inner + np.clip((part - 0.7) / 0.3, 0, 1) * max(1.1 * arm.girth - inner, 0)
    upper = (out < _FURTHEST * arm.girth) & (out > -inner) & (part < 1 + _FURTHEST * arm.girth
             / max(float(np.linalg.norm(arm.elbow - arm.shoulder)), 1.0))  # fmt: skip
    _, away = along(person.shape, arm.elbow, arm.wrist)
    beside = masks.beside(hand_shapes.flesh(arm.hand, person.shape))
    lower = (away < _FURTHEST * arm.girth) | (beside < 0.15 * hand_shapes.length(arm.hand))
    return np.asarray(upper), np.asarray(lower)


def _pixel(point: F32, shape: tuple[int, ...]) -> tuple[int, int]:
    return (
        int(np.clip(point[1], 0, shape[0] - 1)),
        int(np.clip(point[0], 0, shape[1] - 1)),
    )


def _arm_priors(arm: ArmBones, shape: tuple[int, ...]) -> tuple[F32, F32]:
    """How likely upper arm and lower arm are by nearness."""
    part, away = along(shape, arm.shoulder, arm.elbow)
    upper = _likely(away / arm.girth) * np.clip((part + 0.1) / 0.3, 0.05, 1)
    upper *= np.clip((1.3 - part) / 0.3, 0.05, 1)  # beyond the elbow is no upper arm
    part, away = along(shape, arm.elbow, arm.wrist)
    width = arm.girth * (_TAPER[0] + (_TAPER[1] - _TAPER[0]) * np.clip(part, 0, 1))
    lower = _likely(away / width)
    flesh = hand_shapes.flesh(arm.hand, shape)
    beside = masks.beside(flesh)
    hand = _likely(0.6 + beside / (0.12 * hand_shapes.length(arm.hand)))
    past = np.clip(part / 0.3 + 0.5, 0.02, 1)  # behind the elbow's line is the upper arm
    return upper.astype(np.float32), np.maximum(lower * past, hand).astype(np.float32)


def _likely(ratio: F32) -> F32:
    """1 well inside a limb of half width 1, fading out beyond."""
    return np.asarray(np.exp(-2.0 * np.maximum(ratio - 0.6, 0) ** 2), np.float32)


def _trunk_prior(body: F32, shape: tuple[int, ...], arms: Sequence[ArmBones]) -> F32:
    inside = trunk_shape(body, shape, 0.4 * arms[0].girth)
    beside = masks.beside(inside)
    near = np.exp(-2.0 * (beside / arms[0].girth) ** 2)
    head = np.indices(shape)[0] < body[11:13, 1].mean() - arms[0].girth
    return np.asarray(np.maximum(np.maximum(near, head), 0.02), np.float32)


def seeds(body: F32, shape: tuple[int, ...], arms: Sequence[ArmBones]) -> Mask:
    """Pixels (1 + 2 A, H, W) that belong to a label for sure; an upper arm yields to hands."""
    out = np.zeros((1 + 2 * len(arms), *shape), bool)
    width = girth(body)
    flesh, near = np.zeros(shape, bool), np.zeros(shape, bool)
    for number, arm in enumerate(arms):
        part, away = along(shape, arm.elbow, arm.wrist)
        lower = (part > _LOWER_CORE) & (part < 1) & (away < _CORE * _TAPER[1] * arm.girth)
        out[2 + 2 * number] = lower | hand_shapes.bones(arm.hand, shape)
        mine = hand_shapes.flesh(arm.hand, shape)
        flesh |= mine
        near |= mine | (away < 1.1 * arm.girth)
    for number, arm in enumerate(arms):
        part, away = along(shape, arm.shoulder, arm.elbow)
        core = (part > _UPPER_CORE[0]) & (part < _UPPER_CORE[1]) & (away < _CORE * arm.girth)
        out[1 + 2 * number] = core & ~flesh & ~out[2::2].any(0)
        near |= (away < 1.0 * arm.girth) & (part > 0.2)
    head = np.indices(shape)[0] < body[11:13, 1].mean() - width
    out[TRUNK] = (trunk_shape(body, shape, 1.3 * width) | head) & ~near
    return out


def bones_of(body: F32, hands: Mapping[Side, F32]) -> dict[Side, ArmBones]:
    """The bones of every arm whose hand is known."""
    place: dict[Side, tuple[int, int]] = {"left": (11, 13), "right": (12, 14)}
    return {
        side: ArmBones(
            np.asarray(body[place[side][0], :2], np.float32),
            np.asarray(body[place[side][1], :2], np.float32),
            np.asarray(points[:, :2], np.float32),
            girth(body),
        )
        for side, points in hands.items()
    }
