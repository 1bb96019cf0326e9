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
_SIDES: Final = ("left", "right")
_WRISTS, _SHOULDERS = (
    [BONES.index(f"{bone}.{mark}") for mark in "LR"] for bone in ("wrist", "upperarm01")
)
_CURLS: Final = {side: [INDEX[f"{side}_{name}_curl"] for name in FINGERS] for side in _SIDES}
_WRIST_TURNS: Final = 0.5  # of a hand's sideways bend, and ...
_ROLL_TURNS: Final = 0.12  # ... of a forearm's roll, that show as a turn in the frame


def ready_to_speak(rest: F32, sides: tuple[str, ...]) -> F32:
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
        self._home = self._wrists(rest)

    def read(self, state: F32) -> dict[str, Gesture]:
        """What both arms do in a state (STATE_DIM,)."""
        shifts, more = self._wrists(state) - self._home, state - self._rest
        return {
            side: _gesture(side, shift, more) for side, shift in zip(_SIDES, shifts, strict=True)
        }

    def _wrists(self, state: F32) -> NDArray[np.float64]:
        """Where both wrists are (2, 3), each seen from its shoulder, metres."""
        at = self._person.joint_places(state)
        return np.asarray(at[_WRISTS] - at[_SHOULDERS], np.float64)


def _gesture(side: str, shift: NDArray[np.float64], more: F32) -> Gesture:
    """By how far the wrist went and how much "more" the state is than its rest."""
    outwards = 1.0 if side == "left" else -1.0  # the person's left is the frame's right
    turn = _WRIST_TURNS * more[INDEX[f"{side}_wrist_dev"]]
    turn += _ROLL_TURNS * more[INDEX[f"{side}_forearm"]]
    curls = more[_CURLS[side]]
    curls[1:] = curls[1:].mean()  # beside each other in the frame: they flex as one
    return Gesture(np.array([shift[0], -shift[1]], np.float32), -outwards * float(turn), curls)
