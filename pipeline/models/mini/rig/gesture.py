"""What a performance does with its arms, against the rest that its generator was told of.

The generator knows how its person's arms rest and moves them from there. What it adds - the way
of a wrist, the turn of a hand, the curl of fingers - is what a picture's arms are given.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.arm_motion import Gesture
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES, FINGERS
from pipeline.models.mini.rig.state import INDEX, SLICES

F32 = NDArray[np.float32]

# Forearms before the body, hands ready to speak: the rest that gestures are generated from when the
# picture shows a hand, as radians in the order of ``state.ARM``.
READY: Final[dict[str, float]] = {
    "flex": 0.20, "abduct": 0.15, "twist": 0.42, "elbow": 1.25, "forearm": 0.50,
    "index_curl": 0.22, "middle_curl": 0.28, "ring_curl": 0.33, "little_curl": 0.36,
    "thumb_curl": 0.15, "thumb_oppose": 0.25,
}  # fmt: skip
_WRIST_TURNS: Final = 0.5  # of a hand's sideways bend, and ...
_ROLL_TURNS: Final = 0.12  # ... of a forearm's roll, that show as a turn in the frame


def told(rest: F32, sides: tuple[str, ...]) -> F32:
    """The rest (STATE_DIM,) that the generator is told of: ``sides``' hands are ready to speak."""
    out = rest.copy()
    for side in sides:
        out[SLICES[f"{side}_arm"]] = 0
        for name, value in READY.items():
            out[INDEX[f"{side}_{name}"]] = value
    return out


class GestureReader:
    """Reads the gestures of one person's performance."""

    def __init__(self, person: Person, rest: F32) -> None:
        self._person, self._rest = person, rest
        self._home = {side: self._wrist(rest, side) for side in ("left", "right")}

    def read(self, state: F32, side: str) -> Gesture:
        """What the arm of this side does in a state (STATE_DIM,)."""
        shift = self._wrist(state, side) - self._home[side]
        more = state - self._rest
        outwards = 1.0 if side == "left" else -1.0  # the person's left is the frame's right
        turn = _WRIST_TURNS * more[INDEX[f"{side}_wrist_dev"]]
        turn += _ROLL_TURNS * more[INDEX[f"{side}_forearm"]]
        curls = np.array([more[INDEX[f"{side}_{name}_curl"]] for name in FINGERS], np.float32)
        curls[1:] = curls[1:].mean()  # beside each other in the frame: they flex as one
        return Gesture(np.array([shift[0], -shift[1]], np.float32), -outwards * float(turn), curls)

    def _wrist(self, state: F32, side: str) -> NDArray[np.float64]:
        """Where the wrist is, seen from its shoulder, metres."""
        at = self._person.joint_places(state)
        mark = side[0].upper()
        return np.asarray(
            at[BONES.index(f"wrist.{mark}")] - at[BONES.index(f"upperarm01.{mark}")], np.float64
        )
