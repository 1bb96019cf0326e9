"""A painted figure with known parts: a trunk, one arm beside it, a hand, before a striped wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.take_apart import PersonPoints

F32 = NDArray[np.float32]
SIDE: Final = 320
CLOTH: Final = (60, 90, 170)
SKIN: Final = (215, 160, 130)
WALL: Final = ((70, 150, 80), (110, 190, 120))
_SHOULDER, _ELBOW, _WRIST = (196.0, 130.0), (216.0, 205.0), (246.0, 170.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """The picture and what is true of it; masks (SIDE, SIDE) in 0..1."""

    picture: NDArray[np.uint8]
    wall: NDArray[np.uint8]
    person: F32
    upper: F32
    lower: F32
    points: PersonPoints


def hand_points(wrist: tuple[float, float]) -> F32:
    """An open hand (21, 2) above its wrist, 40 px long."""
    out = [np.array(wrist)]
    for turn in (-0.9, -0.4, 0.0, 0.35, 0.7):
        way = np.array([np.sin(turn), -np.cos(turn)])
        out += [out[0] + way * reach for reach in (17.0, 25.0, 33.0, 40.0)]
    return np.array(out, np.float32)


def painted(hands: bool = True) -> Figure:
    """The figure; without its ``hands``' points nobody knows where they are."""
    noise = np.random.default_rng(0).normal(0, 2.5, (SIDE, SIDE, 3))
    columns = np.indices((SIDE, SIDE))[1]
    wall = np.where(((columns // 10) % 2 == 0)[..., None], *WALL).astype(float) + noise
    hand = hand_points(_WRIST)
    trunk = _ellipse((160, 75), (28, 38)) | _poly([(118, 120), (202, 120), (196, 320), (124, 320)])
    upper, lower = _tube(_SHOULDER, _ELBOW, 15), _tube(_ELBOW, _WRIST, 10)
    for tip in (4, 8, 12, 16, 20):
        lower |= _tube(tuple(hand[0]), tuple(hand[tip]), 4)
    lower |= cv2.fillConvexPoly(
        np.zeros((SIDE, SIDE), np.uint8), cv2.convexHull(hand[[0, 1, 5, 9, 13, 17]].astype(int)), 1
    ).astype(bool)
    weave = 10 * np.sin(np.indices((SIDE, SIDE)).sum(0) / 2.5)[..., None]
    picture = wall
    for mask, colour in ((trunk, CLOTH), (upper, (48, 72, 140)), (lower, SKIN)):
        alpha = _soft(mask)[..., None]
        texture = np.array(colour) + noise + (weave if colour != SKIN else 0)
        picture = alpha * texture + (1 - alpha) * picture
    person = _soft(trunk | upper | lower)
    coarse = cv2.GaussianBlur((trunk | upper | lower).astype(np.float32), (0, 0), 4)
    body = np.zeros((33, 3), np.float32)
    body[0, :2] = 160, 80
    body[[11, 13, 15], :2] = _SHOULDER, _ELBOW, _WRIST
    body[[12, 14, 16], :2] = (124, 130), (124, 200), (124, 240)
    body[[23, 24], :2] = (184, 300), (136, 300)
    known = {"left": hand} if hands else {}
    points = PersonPoints(body, coarse, known)  # type: ignore[arg-type]
    return Figure(_byte(picture), _byte(wall), person, _soft(upper & ~lower), _soft(lower), points)


def _byte(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _soft(mask: NDArray[np.bool_]) -> F32:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)


def _ellipse(middle: tuple[int, int], axes: tuple[int, int]) -> NDArray[np.bool_]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    return cv2.ellipse(canvas, middle, axes, 0, 0, 360, 1, -1) > 0


def _poly(corners: list[tuple[int, int]]) -> NDArray[np.bool_]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    return cv2.fillPoly(canvas, [np.array(corners, np.int32)], 1) > 0


def _tube(start: tuple[float, ...], end: tuple[float, ...], radius: int) -> NDArray[np.bool_]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    ends = [tuple(round(v) for v in point) for point in (start, end)]
    return cv2.line(canvas, ends[0], ends[1], 1, 2 * radius) > 0
