"""How an arm of a photograph moves: its bones in the frame, and where a gesture takes them.

A performance says how far the wrist has left its own rest, and the picture's wrist goes as far from
where the picture shows it, never beyond its *reach*. The elbow gives way, as elbows do; between
them bones turn, and grow or shrink as they point less or more at the camera. All places are px of
the frame, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

TORSO, UPPER, FOREARM, HAND, FINGER = range(5)  # of an arm's bones; five fingers begin at FINGER
BONES: Final = FINGER + 5
DIRECTIONS: Final = 16  # of a reach, clockwise from the frame's right
_FOREARM_M: Final = 0.25  # an adult's, metres
_GIVES: Final = np.array([0.38, 0.34], np.float32)  # of the wrist's way, across and up, of an elbow
_LOWERED: Final = np.float32(0.15)  # ... and downwards, where an upper arm hardly gives
_UPPER_LENGTH: Final = (0.84, 1.06)  # how far an upper arm shrinks and grows in the frame
_TURN: Final = 0.5  # radians that a hand never quite turns in the frame
_DEPTH_M: Final = 1.8  # metres from the camera, of which a nearer hand is a larger one
_LARGER: Final = 0.06
_CURL: Final = 0.3  # of a finger's length that a full curl takes ...
_FINGER_LENGTH: Final = (0.86, 1.06)  # ... and how far it may go


@dataclass(frozen=True, slots=True)
class ArmBones:
    """Where an arm's joints are in the frame, px."""

    shoulder: F32  # (2,)
    elbow: F32
    wrist: F32
    fingers: F32  # (5, 2, 2) base and tip, thumb to little finger
    metre: float  # px

    @property
    def outline(self) -> F32:
        """The wrist and every finger's base and tip (11, 2)."""
        return np.concatenate([self.wrist[None], self.fingers.reshape(-1, 2)])

    @property
    def hand(self) -> float:
        """Half of the hand's length, px, however it is turned."""
        places = self.fingers.reshape(-1, 2)
        return float(np.linalg.norm(places - self.wrist, axis=1).max()) / 2


@dataclass(frozen=True, slots=True)
class Gesture:
    """What a performance does with an arm, from its own rest."""

    wrist: F32  # (2,) metres, to the frame's right and down
    turn: float  # radians of the hand in the frame
    curls: F32  # (5,)


def together(gestures: Sequence[Gesture]) -> Gesture:
    """What hands do that touch each other: one way, without turns."""
    wrist = np.stack([gesture.wrist for gesture in gestures]).mean(0, dtype=np.float32)
    return Gesture(np.asarray(wrist), 0.0, np.zeros(5, np.float32))


CALM: Final = Gesture(np.zeros(2, np.float32), 0.0, np.zeros(5, np.float32))


def held(shift: F32, reach: F32) -> F32:
    """A shift of the wrist (2,) that bends towards ``reach`` (DIRECTIONS,) and never passes it."""
    far = float(np.hypot(shift[0], shift[1]))
    if far < 1e-6:
        return np.zeros(2, np.float32)
    at = (math.atan2(shift[1], shift[0]) / (2 * math.pi) % 1.0) * DIRECTIONS
    low = int(at) % DIRECTIONS
    share = at - int(at)
    most = (1 - share) * float(reach[low]) + share * float(reach[(low + 1) % DIRECTIONS])
    return np.asarray(shift * (most * math.tanh(far / max(most, 1e-6)) / far), np.float32)


def transforms(bones: ArmBones, gesture: Gesture, reach: F32, shoulder: F32) -> F32:
    """What each bone does to its places (BONES, 2, 3): rest px -> px.

    ``shoulder`` (2,) is where the trunk has taken the shoulder; TORSO's row is not used.
    """
    carried = shoulder - bones.shoulder
    shift = held(gesture.wrist * np.float32(bones.metre), reach)
    wrist = bones.wrist + carried + shift
    elbow = _elbow(bones, shoulder, carried, shift)
    turn, size = _hand(bones, elbow, wrist, gesture.turn)
    out = np.zeros((BONES, 2, 3), np.float32)
    out[TORSO] = _placed(np.eye(2, dtype=np.float32), bones.shoulder, shoulder)
    out[UPPER] = _along(bones.shoulder, bones.elbow, shoulder, elbow)
    out[FOREARM] = _along(bones.elbow, bones.wrist, elbow, wrist)
    out[HAND] = hand = _placed(_rotation(turn) * np.float32(size), bones.wrist, wrist)
    for number, (base, tip) in enumerate(bones.fingers):
        out[FINGER + number] = _flexed(hand, base, tip, float(gesture.curls[number]))
    return out


def _elbow(bones: ArmBones, shoulder: F32, carried: F32, shift: F32) -> F32:
    """Where the elbow goes: some of the wrist's way, at nearly its distance from the shoulder."""
    gives = _GIVES.copy()
    if shift[1] > 0:
        gives[1] = _LOWERED
    goal = bones.elbow + carried + gives * shift
    rest = float(np.linalg.norm(bones.elbow - bones.shoulder))
    now = float(np.linalg.norm(goal - shoulder))
    length = min(max(now, _UPPER_LENGTH[0] * rest), _UPPER_LENGTH[1] * rest)
    return np.asarray(shoulder + (goal - shoulder) * (length / max(now, 1e-6)), np.float32)


def _hand(bones: ArmBones, elbow: F32, wrist: F32, turn: float) -> tuple[float, float]:
    """How far the hand turns in the frame as its forearm swings, and how much larger it gets."""
    before, after = bones.wrist - bones.elbow, wrist - elbow
    length = max(_FOREARM_M * bones.metre, 1.02 * float(np.linalg.norm(before)))
    a, b = (_in_depth(v, length) for v in (before, after))
    x, y, z = (float(value) for value in np.cross(a, b))
    cosine = max(float(a @ b), -0.9)
    swing = math.atan2(2 * z, 2 * cosine + (x * x + y * y) / (1 + cosine))  # of the shortest turn
    nearer = float(b[2] - a[2]) * length / (_DEPTH_M * bones.metre)
    size = 1 + min(max(nearer, -_LARGER), _LARGER)
    return _TURN * math.tanh((swing + turn) / _TURN), size


def _in_depth(vector: F32, length: float) -> F32:
    """The unit vector (3,) of a bone that shows as ``vector`` and comes towards the camera."""
    flat = vector / length
    square = float(flat @ flat)
    if square > 1:
        flat, square = flat / math.sqrt(square), 1.0
    return np.array([flat[0], flat[1], math.sqrt(1 - square)], np.float32)


def _rotation(angle: float) -> F32:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]], np.float32)


def _placed(linear: F32, before: F32, after: F32) -> F32:
    """The map (2, 3) with this linear part that takes ``before`` to ``after``."""
    return np.concatenate([linear, (after - linear @ before)[:, None]], 1)


def _along(a: F32, b: F32, a_now: F32, b_now: F32) -> F32:
    """The map that takes a bone a-b to where it is now, as wide as it was."""
    old, new = b - a, b_now - a_now
    size, now = max(float(np.linalg.norm(old)), 1e-6), max(float(np.linalg.norm(new)), 1e-6)
    u, v = old / size, new / now
    across, over = np.array([-u[1], u[0]]), np.array([-v[1], v[0]])
    linear = np.outer(v, u) * (now / size) + np.outer(over, across)
    return _placed(linear.astype(np.float32), a, a_now)


def _flexed(hand: F32, base: F32, tip: F32, curl: float) -> F32:
    """The hand's map, with a finger shortened from its base as it curls."""
    u = (tip - base) / max(float(np.linalg.norm(tip - base)), 1e-6)
    length = min(max(1 - _CURL * curl, _FINGER_LENGTH[0]), _FINGER_LENGTH[1])
    shrink = np.eye(2, dtype=np.float32) + np.float32(length - 1) * np.outer(u, u).astype(
        np.float32
    )
    linear = hand[:, :2] @ shrink
    return _placed(linear, base, hand[:, :2] @ base + hand[:, 2])
