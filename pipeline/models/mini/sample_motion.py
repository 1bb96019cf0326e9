"""Two seconds of test motion for a picture: lips, lids, gaze, head, arms.

Errors of a fit or its landmarks show in these frames at once, without model or sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.state import INDEX, MOUTH, neutral

F32 = NDArray[np.float32]

FRAMES: Final = 50
# What each moment adds to a closed, relaxed mouth in the pose of the picture.
MOMENTS: Final[tuple[tuple[str, Mapping[str, float]], ...]] = (
    ("closed", {}),
    ("open", {"jawOpen": 0.55, "mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25,
              "browInnerUp": 0.3}),
    ("rounded", {"jawOpen": 0.15, "mouthFunnel": 0.4, "mouthPucker": 0.6}),
    ("smile", {"mouthSmileLeft": 0.55, "mouthSmileRight": 0.55, "jawOpen": 0.08,
               "mouthUpperUpLeft": 0.25, "mouthUpperUpRight": 0.25,
               "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4}),
    ("blink", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "head_pitch": -0.06}),
    ("left", {"head_yaw": 0.25, "gaze_yaw": 0.1, "spine_yaw": 0.05, "jawOpen": 0.2}),
    ("right", {"head_yaw": -0.25, "head_roll": 0.06, "gaze_pitch": 0.1, "spine_yaw": -0.05,
               "mouthPucker": 0.3}),
    ("gesture", {"head_pitch": 0.08, "browOuterUpLeft": 0.4, "browOuterUpRight": 0.4,
                 "left_flex": 0.25, "left_elbow": 0.5, "right_flex": 0.15, "right_elbow": 0.35,
                 "jawOpen": 0.3}),
)  # fmt: skip
_OF_EXPRESSION: Final = (*MOUTH, "browInnerUp", "browOuterUpLeft", "browOuterUpRight")


def states(rest: F32) -> F32:
    """The two seconds (FRAMES, STATE_DIM), from the state that a picture shows and back to it."""
    keys = [rest, *(moment(rest, number) for number in range(len(MOMENTS))), rest]
    times = np.linspace(0, FRAMES - 1, len(keys))
    out = np.empty((FRAMES, len(rest)), np.float32)
    for frame in range(FRAMES):
        after = int(np.clip(np.searchsorted(times, frame), 1, len(keys) - 1))
        share = (frame - times[after - 1]) / (times[after] - times[after - 1])
        eased = share * share * (3 - 2 * share)
        out[frame] = (1 - eased) * keys[after - 1] + eased * keys[after]
    return out


def moment(rest: F32, number: int) -> F32:
    """One of the ``MOMENTS``: its expression alone, on top of the pose of the picture."""
    out, calm = rest.copy(), neutral()
    for name in _OF_EXPRESSION:
        out[INDEX[name]] = calm[INDEX[name]]
    for name, value in MOMENTS[number][1].items():
        out[INDEX[name]] += value
    return out
