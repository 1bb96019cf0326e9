"""The body state: what one frame of a performance is, as a documented vector.

A state is float32 (D,) with D = 88, grouped into five *parts* in a fixed order; the latent of a
performance has one token per part. Face units are the ARKit names and lie in [0, 1] (the eight
``eyeLook*`` units are derived from gaze). Angles are radians, lengths metres. Zero everywhere is
a relaxed, neutral face on a body that stands upright with its arms hanging at its sides, palms
to the thighs, looking into the camera. "Left" is the person's own left.

Signs: yaw is positive to the person's left, pitch positive upwards, roll positive towards the
person's left shoulder. Arms are anatomical: ``flex`` raises the arm forwards, ``abduct``
sideways, ``twist`` turns it inwards; ``elbow`` bends; ``forearm`` pronates (palm down when the
elbow is bent); ``wrist_flex`` brings the palm to the forearm, ``wrist_dev`` the thumb to it.
Fingers: curl 0 straight to 1 fist; spread -1 to 1; ``thumb_oppose`` 0 to 1 across the palm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOUTH: Final = (
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "cheekPuff", "tongueOut",
)  # fmt: skip
UPPER_FACE: Final = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "cheekSquintLeft", "cheekSquintRight",
    "noseSneerLeft", "noseSneerRight", "gaze_yaw", "gaze_pitch",
)  # fmt: skip
TORSO: Final = (
    "head_yaw", "head_pitch", "head_roll", "spine_yaw", "spine_pitch", "spine_roll",
    "root_x", "root_y", "root_z", "breath",
    "clavicle_lift_left", "clavicle_lift_right", "clavicle_forward_left", "clavicle_forward_right",
)  # fmt: skip
ARM: Final = (
    "flex", "abduct", "twist", "elbow", "forearm", "wrist_flex", "wrist_dev",
    "index_curl", "middle_curl", "ring_curl", "little_curl",
    "thumb_curl", "thumb_oppose", "spread",
)  # fmt: skip

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "mouth": MOUTH,
    "upper_face": UPPER_FACE,
    "torso": TORSO,
    "left_arm": tuple(f"left_{name}" for name in ARM),
    "right_arm": tuple(f"right_{name}" for name in ARM),
}
NAMES: Final = tuple(name for part in PARTS.values() for name in part)
INDEX: Final[Mapping[str, int]] = {name: i for i, name in enumerate(NAMES)}
STATE_DIM: Final = len(NAMES)
FACE_UNITS: Final = tuple(name for name in MOUTH + UPPER_FACE if not name.startswith("gaze"))


def _slices() -> dict[str, slice]:
    slices, start = {}, 0
    for part, names in PARTS.items():
        slices[part] = slice(start, start + len(names))
        start += len(names)
    return slices


SLICES: Final[Mapping[str, slice]] = _slices()


def neutral() -> NDArray[np.float32]:
    """The zero state, float32 (STATE_DIM,)."""
    return np.zeros(STATE_DIM, np.float32)


def state(**values: float) -> NDArray[np.float32]:
    """A state from named values, the rest neutral; ``KeyError`` names an unknown one."""
    out = neutral()
    for name, value in values.items():
        out[INDEX[name]] = value
    return out
