"""How a person stands in a picture: shape, rest state, camera and clothes, as strict JSON.

A fit is *exact* when the picture was rendered from the body, and then the surface explains every
pixel of the skin and clothes. A fit made from landmarks explains the face; it keeps the
landmarks, so that drawing can correct what the body could not match.

The generator is told of a picture by one vector of fixed layout, ``reference_vector``:
[shape (62) | rest state (88) | framing (6)], so that gestures respect how the person stands and is
cut.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.interface import Landmarks
from pipeline.models.mini.rig.camera import Camera
from pipeline.models.mini.rig.state import INDEX, NAMES, STATE_DIM, neutral

FORMAT: Final = 1
SHAPE_DIM: Final = 62
REF_DIM: Final = SHAPE_DIM + STATE_DIM + len(fields(Camera))


@dataclass(frozen=True, slots=True)
class Fit:
    """One person in one picture. Landmarks are px in the picture that was fitted."""

    shape: NDArray[np.float32]  # (P,) numbers in the order of Body.shape_names
    state: NDArray[np.float32]  # (STATE_DIM,) the state that the picture shows
    camera: Camera
    wear: frozenset[str] = frozenset()
    landmarks: Landmarks = field(default_factory=dict)
    exact: bool = True

    def __post_init__(self) -> None:
        if np.ndim(self.shape) != 1:
            raise ValueError(f"a shape is (P,), got {np.shape(self.shape)}")
        if np.shape(self.state) != (STATE_DIM,):
            raise ValueError(f"a state is ({STATE_DIM},), got {np.shape(self.state)}")
        for name, numbers in (("shape", self.shape), ("state", self.state)):
            if not np.all(np.isfinite(numbers)):
                raise ValueError(f"the numbers of the {name} must be finite")

    def to_json(self) -> str:
        """The fit as text; ``from_json`` gives it back to the bit."""
        state = {n: float(v) for n, v in zip(NAMES, self.state, strict=True) if v != 0.0}
        document = {
            "format": FORMAT,
            "exact": self.exact,
            "shape": [float(value) for value in self.shape],
            "state": state,
            "camera": asdict(self.camera),
            "wear": sorted(self.wear),
            "landmarks": {name: list(point) for name, point in sorted(self.landmarks.items())},
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Read a fit. Raises ``ValueError`` that says what is missing, unknown or not a number."""
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the fit is not JSON: {error}") from error
        keys = ("format", "exact", "shape", "state", "camera", "wear", "landmarks")
        d = _object(document, "fit", keys)
        if d["format"] != FORMAT:
            raise ValueError(f"fits have format {FORMAT}, got {d['format']!r}")
        if not isinstance(d["exact"], bool):
            raise ValueError(f"exact is true or false, got {d['exact']!r}")
        camera = _object(d["camera"], "camera", tuple(f.name for f in fields(Camera)))
        return cls(
            shape=np.array(_numbers(d["shape"], "shape"), np.float32),
            state=_state(d["state"]),
            camera=Camera(**{name: _number(v, f"camera {name}") for name, v in camera.items()}),
            wear=frozenset(_names(d["wear"])),
            landmarks=_landmarks(d["landmarks"]),
            exact=d["exact"],
        )


def reference_vector(fit: Fit, camera: Camera) -> NDArray[np.float32]:
    """What the generator is told (REF_DIM,) of a person whom ``camera`` frames."""
    if fit.shape.shape != (SHAPE_DIM,):
        raise ValueError(f"the generator knows {SHAPE_DIM} shape numbers, got {len(fit.shape)}")
    return np.concatenate([fit.shape, fit.state, camera.vector()]).astype(np.float32)


def _object(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"the {what} is an object, got {type(value).__name__}")
    missing, unknown = sorted(set(keys) - value.keys()), sorted(value.keys() - set(keys))
    if missing or unknown:
        raise ValueError(f"the {what} lacks {missing} and has unknown {unknown}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, got {value!r}")
    return float(value)


def _numbers(value: Any, what: str) -> list[float]:
    if not isinstance(value, list):
        raise ValueError(f"the {what} is a list, got {type(value).__name__}")
    return [_number(item, what) for item in value]


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"wear is a list of names, got {value!r}")
    return value


def _state(value: Any) -> NDArray[np.float32]:
    if not isinstance(value, dict):
        raise ValueError(f"the state is an object, got {type(value).__name__}")
    unknown = sorted(value.keys() - INDEX.keys())
    if unknown:
        raise ValueError(f"unknown names in the state: {unknown}")
    out = neutral()
    for name, number in value.items():
        out[INDEX[name]] = _number(number, name)
    return out


def _landmarks(value: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(value, dict):
        raise ValueError(f"landmarks are an object, got {type(value).__name__}")
    points = {name: _numbers(point, f"landmark {name}") for name, point in value.items()}
    odd = sorted(name for name, point in points.items() if len(point) != 2)
    if odd:
        raise ValueError(f"landmarks are [x, y], not so {odd}")
    return {name: (point[0], point[1]) for name, point in points.items()}
