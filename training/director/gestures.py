"""The shapes that hands make in talk, in anatomical joint angles of one arm.

A gesture has a *preparation* pose and one or more *stroke* poses; further beats walk through the
strokes. The same angles serve both arms, since the state's angles are anatomical. Timing, size
and variation are the business of ``arms.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.director.performer import arm

F64 = NDArray[np.float64]

READY: Final = arm(flex=0.22, abduct=0.16, twist=0.35, elbow=1.40, forearm=0.40, wrist_flex=-0.05)


@dataclass(frozen=True, slots=True)
class Gesture:
    """One shape; ``hands`` is 1, 2, or 0 for either; ``turns`` alternates the two arms."""

    name: str
    prep: F64  # (14,)
    strokes: tuple[F64, ...]  # (14,) each
    hands: int = 0
    weight: float = 1.0
    shrug: float = 0.0  # clavicle lift that goes with the stroke
    turns: bool = False


_OPEN: Final = {
    "index_curl": 0.08, "middle_curl": 0.12, "ring_curl": 0.18, "little_curl": 0.2,
    "thumb_oppose": 0.05, "thumb_curl": 0.05,
}  # fmt: skip
_FLAT: Final = {
    "index_curl": 0.05, "middle_curl": 0.05, "ring_curl": 0.07, "little_curl": 0.08,
    "thumb_oppose": 0.2, "thumb_curl": 0.1, "spread": -0.3,
}  # fmt: skip
_PINCH: Final = {
    "index_curl": 0.50, "middle_curl": 0.34, "ring_curl": 0.40, "little_curl": 0.44,
    "thumb_oppose": 0.75, "thumb_curl": 0.40,
}  # fmt: skip
_POINT: Final = {
    "index_curl": 0.0, "middle_curl": 0.78, "ring_curl": 0.85, "little_curl": 0.88,
    "thumb_oppose": 0.6, "thumb_curl": 0.5,
}  # fmt: skip
_TWO: Final = {**_POINT, "middle_curl": 0.03, "spread": 0.4}
_THREE: Final = {**_TWO, "ring_curl": 0.06, "spread": 0.5}
_CUP: Final = {
    "index_curl": 0.3, "middle_curl": 0.33, "ring_curl": 0.36, "little_curl": 0.38,
    "thumb_oppose": 0.35, "thumb_curl": 0.2, "spread": 0.25,
}  # fmt: skip

_ALL: Final = (
    Gesture(
        "offer",
        arm(flex=0.22, abduct=0.14, twist=0.5, elbow=1.75, forearm=-0.1, wrist_flex=0.1),
        (
            arm(flex=0.36, abduct=0.20, twist=0.20, elbow=1.34, forearm=-1.3, wrist_flex=-0.1,
                spread=0.2, **_OPEN),
            arm(flex=0.34, abduct=0.27, twist=0.05, elbow=1.28, forearm=-1.25, wrist_flex=-0.1,
                spread=0.25, **_OPEN),
        ),
        weight=1.6,
    ),
    Gesture(
        "pinch",
        arm(flex=0.30, abduct=0.16, twist=0.45, elbow=2.0, forearm=0.35, **_PINCH),
        (arm(flex=0.34, abduct=0.16, twist=0.42, elbow=1.66, forearm=0.45, wrist_dev=-0.1,
             **_PINCH),),
        hands=1,
        weight=1.2,
    ),
    Gesture(
        "spread",
        arm(flex=0.28, abduct=0.14, twist=0.58, elbow=1.65, forearm=0.2),
        (arm(flex=0.30, abduct=0.36, twist=0.02, elbow=1.35, forearm=-0.45, wrist_flex=-0.15,
             spread=0.5, **_OPEN),),
        hands=2,
        weight=1.2,
    ),
    Gesture(
        "chop",
        arm(flex=0.36, abduct=0.14, twist=0.32, elbow=1.95, forearm=0.05, wrist_dev=0.15, **_FLAT),
        (
            arm(flex=0.34, abduct=0.14, twist=0.30, elbow=1.38, wrist_dev=-0.12, **_FLAT),
            arm(flex=0.34, abduct=0.18, twist=0.12, elbow=1.40, wrist_dev=-0.12, **_FLAT),
        ),
        weight=1.0,
    ),
    Gesture(
        "count",
        arm(flex=0.42, abduct=0.16, twist=0.36, elbow=1.95, forearm=0.4, index_curl=0.6,
            middle_curl=0.8, ring_curl=0.85, little_curl=0.88, thumb_curl=0.5, thumb_oppose=0.6),
        tuple(
            arm(flex=0.56, abduct=0.20, twist=0.26, elbow=2.15, forearm=0.75, **shape)
            for shape in (_POINT, _TWO, _THREE)
        ),
        hands=1,
        weight=0.6,
    ),
    Gesture(
        "point",
        arm(flex=0.36, abduct=0.18, twist=0.42, elbow=2.0, forearm=0.6, **_POINT),
        (arm(flex=0.55, abduct=0.16, twist=0.30, elbow=1.42, forearm=0.75, wrist_flex=0.1,
             **_POINT),),
        hands=1,
        weight=0.5,
    ),
    Gesture(
        "together",
        arm(flex=0.24, abduct=0.18, twist=0.45, elbow=1.65, forearm=0.2, **_CUP),
        (arm(flex=0.32, abduct=0.16, twist=0.60, elbow=1.50, forearm=0.15, **_CUP),),
        hands=2,
        weight=0.8,
    ),
    Gesture(
        "chest",
        arm(flex=0.35, abduct=0.25, twist=0.70, elbow=1.80, forearm=0.4),
        (arm(flex=0.38, abduct=0.24, twist=0.95, elbow=2.05, forearm=0.35, wrist_flex=0.25,
             **_FLAT),),
        hands=1,
        weight=0.6,
    ),
    Gesture(
        "weigh",
        arm(flex=0.28, abduct=0.20, twist=0.18, elbow=1.35, forearm=-1.0, **_OPEN),
        (
            arm(flex=0.36, abduct=0.22, twist=0.12, elbow=1.52, forearm=-1.3, wrist_flex=-0.15,
                **_OPEN),
            arm(flex=0.24, abduct=0.20, twist=0.12, elbow=1.15, forearm=-1.2, wrist_flex=-0.05,
                **_OPEN),
        ),
        hands=2,
        weight=0.7,
        turns=True,
    ),
    Gesture(
        "beat",
        arm(flex=0.26, abduct=0.15, twist=0.40, elbow=1.68, forearm=0.35, wrist_flex=-0.05),
        (arm(flex=0.26, abduct=0.15, twist=0.36, elbow=1.42, forearm=0.30, wrist_flex=-0.12),),
        weight=2.4,
    ),
    Gesture(
        "roll",
        arm(flex=0.24, abduct=0.16, twist=0.62, elbow=1.75, forearm=0.5, **_CUP),
        (
            arm(flex=0.40, abduct=0.18, twist=0.42, elbow=1.62, forearm=-0.25, **_CUP),
            arm(flex=0.26, abduct=0.17, twist=0.60, elbow=1.60, forearm=0.45, **_CUP),
        ),
        weight=0.7,
    ),
    Gesture(
        "flick",
        arm(flex=0.30, abduct=0.16, twist=0.58, elbow=1.85, forearm=0.55, wrist_flex=0.35),
        (arm(flex=0.34, abduct=0.26, twist=0.02, elbow=1.48, forearm=0.35, wrist_flex=-0.45,
             **_OPEN),),
        hands=1,
        weight=0.6,
    ),
    Gesture(
        "list",
        arm(flex=0.32, abduct=0.14, twist=0.55, elbow=1.85, forearm=0.15, **_FLAT),
        (
            arm(flex=0.32, abduct=0.13, twist=0.55, elbow=1.50, forearm=0.05, **_FLAT),
            arm(flex=0.33, abduct=0.16, twist=0.32, elbow=1.46, forearm=0.0, **_FLAT),
            arm(flex=0.34, abduct=0.20, twist=0.06, elbow=1.44, forearm=-0.1, **_FLAT),
        ),
        weight=0.7,
    ),
    Gesture(
        "frame",
        arm(flex=0.32, abduct=0.15, twist=0.36, elbow=1.80, forearm=0.15, **_CUP),
        (
            arm(flex=0.34, abduct=0.15, twist=0.28, elbow=1.52, forearm=0.05, **_CUP),
            arm(flex=0.34, abduct=0.22, twist=0.10, elbow=1.50, forearm=0.0, **_CUP),
        ),
        hands=2,
        weight=1.2,
    ),
    Gesture(
        "settle",
        arm(flex=0.34, abduct=0.18, twist=0.34, elbow=1.72, forearm=1.0, wrist_flex=0.05, **_OPEN),
        (arm(flex=0.32, abduct=0.18, twist=0.30, elbow=1.36, forearm=1.1, wrist_flex=-0.3,
             spread=0.2, **_OPEN),),
        weight=0.8,
    ),
    Gesture(
        "shrug",
        arm(flex=0.24, abduct=0.18, twist=0.30, elbow=1.55, forearm=-0.3),
        (arm(flex=0.22, abduct=0.30, twist=-0.10, elbow=1.50, forearm=-1.35, wrist_flex=-0.2,
             spread=0.3, **_OPEN),),
        hands=2,
        weight=0.5,
        shrug=0.16,
    ),
)  # fmt: skip

GESTURES: Final[Mapping[str, Gesture]] = {gesture.name: gesture for gesture in _ALL}
WEIGHTS: Final = np.array([gesture.weight for gesture in _ALL]) / sum(g.weight for g in _ALL)


def draw(rng: np.random.Generator, avoid: str = "") -> Gesture:
    """A gesture by its weight, not the one just made."""
    while True:
        gesture = _ALL[int(rng.choice(len(_ALL), p=WEIGHTS))]
        if gesture.name != avoid:
            return gesture
