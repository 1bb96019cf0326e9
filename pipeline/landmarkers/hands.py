"""Hands: palms found in the picture and close to each wrist, then 21 points (Zhang et al. 2020).

Which rules work was tried on pictures of half bodies. The network's presence says whether there is
a hand, not how well its crop was placed: so a palm's own detection comes first, by its score, and
the body's wrist is asked only where there is none. The hand of a side is the one nearest to the
body's wrist; what the network says of left and right is mirrored often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers.bodies import INDICES, PINKIES, WRISTS, shoulder_width
from pipeline.landmarkers.boxes import Detection, detect
from pipeline.landmarkers.crops import Square, around, whole
from pipeline.landmarkers.networks import network
from pipeline.landmarkers.people import SIDES, Body, Hand, Side

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LEAST: Final = 0.5
WRIST: Final = 0
_FOREFINGER, _MIDDLE_FINGER, _RING_FINGER = 5, 9, 13  # their knuckles
_PALM: Final = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])
# In shoulder widths: how far a hand's wrist may be from the body's; sides of the crops.
_NEAR, _CLOSE_UP, _POSE_CROP = 0.6, 1.5, 0.6
# In hands: two whose middles and wrists are nearer to each other are one.
_SAME_MIDDLE, _SAME_WRIST = 0.25, 0.5


def detect_palms(picture: U8, square: Square | None = None) -> list[Detection]:
    """Palms in a square, or in the whole picture; points are the wrist, knuckles and others."""
    return detect("palm_detector", picture, square or whole(picture), LEAST)


def square_of(palm: Detection) -> Square:
    """The crop of a hand, fingers up, from its palm's box."""
    angle = _upright(palm.points[0], palm.points[2])
    x, y = palm.middle.tolist()
    return Square(x, y, palm.side, angle).moved(0, -0.5, 2.6)


def square_around(points: F32) -> Square:
    """The crop of a hand from its points (21, 3)."""
    sides = points[[_FOREFINGER, _RING_FINGER], :2].mean(0)
    knuckles = (sides + points[_MIDDLE_FINGER, :2]) / 2
    angle = _upright(points[WRIST, :2], knuckles)
    return around(points[_PALM, :2], angle).moved(0, -0.1, 2.0)


def _upright(wrist: F32, knuckles: F32) -> float:
    right, down = (knuckles - wrist).tolist()
    return float(np.arctan2(right, -down))


def look(picture: U8, square: Square, score: float = 0.0) -> Hand:
    """The hand in a crop; whether there is one is said by its presence."""
    net = network("hand")
    answer = net(square.cut(picture, net.size, border=cv2.BORDER_REPLICATE))
    places = answer["points"].reshape(-1, 3) / net.size
    flat, world = square.to_picture(places[:, :2]), answer["world"].reshape(-1, 3).copy()
    world[:, :2] = world[:, :2] @ square.axes()
    points = np.concatenate([flat, square.side * places[:, 2:]], 1, dtype=np.float32)
    return Hand(points, world, float(answer["presence"].reshape(())), score)


def find_hands(
    picture: U8, body: Body, palms: Sequence[Detection], sides: Sequence[Side] = SIDES
) -> dict[Side, Hand]:
    """The hands of a body; ``palms`` are those of the whole picture."""
    near = [palm for palm in palms if _is_near(palm, body)]
    for side in sides:
        near += detect_palms(picture, _around_wrist(body, side, _CLOSE_UP))
    seen = [look(picture, square_of(palm), palm.score) for palm in _once(near)]
    hands = _by_side([hand for hand in seen if hand.presence > LEAST], body, sides)
    for side in sides:
        if side not in hands and (hand := _at_wrist(picture, body, side, hands.values())):
            hands[side] = hand
    return hands


def _is_near(palm: Detection, body: Body) -> bool:
    gaps = np.linalg.norm(body.points[list(WRISTS.values()), :2] - palm.middle, axis=1)
    return bool(gaps.min() < 2 * _NEAR * shoulder_width(body) + palm.side)


def _around_wrist(body: Body, side: Side, widths: float) -> Square:
    """An upright square around where the body's points say that a hand is."""
    points = [body.points[part[side], :2] for part in (WRISTS, PINKIES, INDICES)]
    x, y = np.mean(points, 0).tolist()
    return Square(x, y, widths * shoulder_width(body))


def _once(palms: list[Detection]) -> list[Detection]:
    """Palms that were found in several squares, each once, the surest first."""
    out: list[Detection] = []
    for palm in sorted(palms, key=lambda palm: -palm.score):
        far = [np.linalg.norm(palm.middle - other.middle) > 0.25 * other.side for other in out]
        if all(far):
            out.append(palm)
    return out


@dataclass(frozen=True, slots=True)
class _Claim:
    """A hand that may belong to a side, by how far it is from that wrist."""

    gap: float
    side: Side
    hand: Hand


def _by_side(hands: Sequence[Hand], body: Body, sides: Sequence[Side]) -> dict[Side, Hand]:
    kept: list[Hand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if not any(same(hand, other) for other in kept):
            kept.append(hand)
    claims = [_Claim(_gap(hand, body, side), side, hand) for hand in kept for side in sides]
    out: dict[Side, Hand] = {}
    for claim in sorted(claims, key=lambda claim: claim.gap):
        taken = any(claim.hand is hand for hand in out.values())
        if is_at_wrist(claim.hand, body, claim.side) and claim.side not in out and not taken:
            out[claim.side] = claim.hand
    return out


def _gap(hand: Hand, body: Body, side: Side) -> float:
    """Shoulder widths between the hand's wrist and the body's."""
    gap = np.linalg.norm(hand.points[WRIST, :2] - body.points[WRISTS[side], :2])
    return float(gap) / shoulder_width(body)


def is_at_wrist(hand: Hand, body: Body, side: Side) -> bool:
    """Whether a hand is where the body's points have that side's wrist."""
    return _gap(hand, body, side) < _NEAR


def same(hand: Hand, other: Hand) -> bool:
    """Whether two are one hand, seen twice; clasped hands are two."""
    size = around(other.points[:, :2], 0.0).side
    middles = np.linalg.norm(hand.points[:, :2].mean(0) - other.points[:, :2].mean(0))
    wrists = np.linalg.norm(hand.points[WRIST, :2] - other.points[WRIST, :2])
    return bool(middles < _SAME_MIDDLE * size and wrists < _SAME_WRIST * size)


def _at_wrist(picture: U8, body: Body, side: Side, others: Iterable[Hand]) -> Hand | None:
    """The hand where the body's points say that it is, if the picture shows one there."""
    square = _around_wrist(body, side, _POSE_CROP)
    high, wide = picture.shape[:2]
    if not (0 <= square.x < wide and 0 <= square.y < high):
        return None
    knuckles = body.points[[PINKIES[side], INDICES[side]], :2].mean(0)
    angle = _upright(body.points[WRISTS[side], :2], knuckles)
    first = look(picture, Square(square.x, square.y, square.side, angle))
    hand = look(picture, square_around(first.points)) if first.presence > LEAST else first
    if hand.presence <= LEAST or not is_at_wrist(hand, body, side):
        return None
    return None if any(same(hand, other) for other in others) else hand
