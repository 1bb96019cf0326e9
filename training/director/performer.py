"""Who performs: a rest pose, what the picture shows of the hands, and small habits of the body.

``REST_ARMS`` names ways to stand; ``Performer.random`` draws a person for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.state import ARM, INDEX, SLICES, STATE_DIM, neutral
from training.director.bodies import bundled_body, sample_camera, sample_shape, standing_height

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def arm(**angles: float) -> F64:
    """One arm's 14 values from named ones; fingers are softly curled unless said otherwise."""
    soft = {
        "index_curl": 0.22, "middle_curl": 0.28, "ring_curl": 0.33, "little_curl": 0.36,
        "thumb_curl": 0.15, "thumb_oppose": 0.25,
    }  # fmt: skip
    values = {**dict.fromkeys(ARM, 0.0), **soft, **angles}
    unknown = set(values) - set(ARM)
    if unknown:
        raise KeyError(f"an arm has no {min(unknown)!r}")
    return np.array([values[name] for name in ARM])


_SIDE: Final = arm(flex=0.04, abduct=0.13, twist=0.12, elbow=0.22, forearm=0.25)
_APART: Final = arm(flex=0.02, abduct=0.32, twist=0.10, elbow=0.18, forearm=0.2)
_BENT: Final = arm(flex=0.02, abduct=0.14, twist=0.35, elbow=0.75, forearm=0.35)
_FOLDED: Final = arm(flex=0.05, abduct=0.12, twist=0.53, elbow=1.39, forearm=0.20, wrist_flex=0.20)
_FOLDED_OVER: Final = arm(
    flex=0.49, abduct=0.14, twist=0.83, elbow=1.11, forearm=0.35, wrist_flex=0.35
)
_LOW: Final = arm(flex=0.16, abduct=0.07, twist=0.62, elbow=0.66, forearm=0.35)
_LOW_OVER: Final = arm(flex=0.34, abduct=0.08, twist=0.62, elbow=0.64, forearm=0.45)
_READY: Final = arm(flex=0.20, abduct=0.15, twist=0.42, elbow=1.25, forearm=0.50)

REST_ARMS: Final[Mapping[str, tuple[F64, F64]]] = {
    "sides": (_SIDE, _SIDE),
    "apart": (_APART, _APART),
    "bent": (_BENT, _BENT),
    "folded": (_FOLDED, _FOLDED_OVER),
    "low": (_LOW, _LOW_OVER),
    "ready": (_READY, _READY),
    "one_up": (_SIDE, _READY),
}


def rest_state(name: str = "sides", mirrored: bool = False, **values: float) -> F32:
    """A rest pose: arms of ``REST_ARMS[name]``, everything else neutral or as named."""
    left, right = REST_ARMS[name][::-1] if mirrored else REST_ARMS[name]
    out = neutral()
    out[SLICES["left_arm"]], out[SLICES["right_arm"]] = left, right
    for key, value in values.items():
        out[INDEX[key]] = value
    return out


@dataclass(frozen=True, slots=True)
class Performer:
    """What motion has to respect about a person and the picture of them."""

    rest: F32 = field(default_factory=rest_state)  # (88,) the state of the reference picture
    shape: F32 = field(default_factory=lambda: bundled_body().shape())  # (P,)
    camera: Camera = field(default_factory=Camera)
    hands_visible: bool = True  # whether gestures in front of the belly are in the frame
    articulation: float = 1.0
    liveliness: float = 1.0
    right_handed: float = 0.65  # share of one-handed gestures made with the right hand
    left_share: float = 1.0  # how much more the left half of the face moves, around 1

    def __post_init__(self) -> None:
        if self.rest.shape != (STATE_DIM,):
            raise ValueError(f"a rest state has {STATE_DIM} values, got shape {self.rest.shape}")
        if not 0.5 <= self.left_share <= 1.5:
            raise ValueError(f"left_share must lie in [0.5, 1.5], got {self.left_share}")

    def reference(self) -> F32:
        """What the generator is told of the person: [shape P | rest 88 | framing 6]."""
        return np.concatenate([self.shape, self.rest, self.camera.vector()]).astype(np.float32)

    @classmethod
    def random(cls, rng: np.random.Generator) -> Performer:
        """A performer for training: a random body in a random stance and framing."""
        shape = sample_shape(rng)
        camera, visible = sample_camera(rng, standing_height(shape))
        return cls(
            rest=sample_rest(rng),
            shape=shape,
            camera=camera,
            hands_visible=visible,
            articulation=float(np.clip(rng.normal(1.0, 0.07), 0.85, 1.15)),
            liveliness=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3)),
            right_handed=float(rng.choice([0.25, 0.7, 0.7])),
            left_share=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
        )


def _sample_arms(rng: np.random.Generator) -> tuple[F64, F64]:
    """Left and right arm at rest: a named pose, or something between two of them."""
    names = list(REST_ARMS)
    first, second = (REST_ARMS[names[int(rng.integers(len(names)))]] for _ in range(2))
    share = 0.0 if rng.random() < 0.6 else float(rng.uniform(0.0, 1.0))
    sides = [(1.0 - share) * a + share * b for a, b in zip(first, second, strict=True)]
    left, right = sides if rng.random() < 0.5 else sides[::-1]
    jitter = rng.normal(0.0, 0.03, (2, len(ARM)))
    low, high = np.array([0.0] * 6 + [-0.5]), np.array([1.0] * 6 + [0.5])
    left, right = left + jitter[0], right + jitter[1]
    left[7:], right[7:] = np.clip(left[7:], low, high), np.clip(right[7:], low, high)
    return left, right


def _sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """What a face does in a portrait: mostly a smile, now and then parted lips or raised brows."""
    smile = float(np.clip(rng.normal(0.15, 0.18), 0.0, 0.6))
    out = {"mouthSmileLeft": smile, "mouthSmileRight": smile * float(rng.uniform(0.85, 1.0))}
    for name, most in (("jawOpen", 0.12), ("browInnerUp", 0.3), ("mouthPressLeft", 0.2)):
        if rng.random() < 0.2:
            out[name] = float(rng.uniform(0.0, most))
    for names, most in ((("eyeSquintLeft", "eyeSquintRight"), 0.4),
                        (("browDownLeft", "browDownRight"), 0.3),
                        (("browOuterUpLeft", "browOuterUpRight"), 0.3),
                        (("mouthStretchLeft", "mouthStretchRight"), 0.2)):  # fmt: skip
        if rng.random() < 0.25:
            out |= dict.fromkeys(names, float(rng.uniform(0.0, most)))
    return out


def sample_rest(rng: np.random.Generator) -> F32:
    """A rest state as people stand for a portrait: arms, a slight turn, an expression."""
    out = neutral()
    out[SLICES["left_arm"]], out[SLICES["right_arm"]] = _sample_arms(rng)
    turn = rng.normal(0.0, 1.0, 5) * np.array([0.08, 0.04, 0.03, 0.06, 0.015])
    names_of_turn = ("head_yaw", "head_pitch", "head_roll", "spine_yaw", "spine_roll")
    for name, value in zip(names_of_turn, turn, strict=True):
        out[INDEX[name]] = value
    for name, level in _sample_expression(rng).items():
        out[INDEX[name]] = level
    return out
