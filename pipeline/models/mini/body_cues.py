"""Named gestures and emotions as curves that a performance is blended with.

A gesture has preparation, strokes and retraction; its first stroke lands at time 0. What it does
with head, shoulders and brows is added to the performance; arms it takes over and gives back. An
emotion is added to the face. Every curve begins and ends at rest, so nothing ever jumps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.state import ARM, INDEX, SLICES, STATE_DIM

F32 = NDArray[np.float32]
Key = tuple[float, Mapping[str, float]]  # seconds from the first stroke, and values


@dataclass(frozen=True, slots=True)
class Curve:
    """What one cue does: ``add`` and ``pose`` are (k, 88) at ``times`` (k,), at rest in between.

    ``taken`` (88,) is 1 where ``pose`` replaces what is performed, for as long as it lasts.
    """

    times: NDArray[np.float64]
    add: NDArray[np.float64]
    pose: NDArray[np.float64]
    taken: NDArray[np.float64]
    fade_s: float  # of what is taken, in and out

    @property
    def lead_s(self) -> float:
        """Preparation before the first stroke."""
        return float(-self.times[0])

    @property
    def end_s(self) -> float:
        """When the body is given back."""
        return float(self.times[-1])

    def blend(self, state: F32, at: float) -> F32:
        """The state (88,) with this cue, ``at`` seconds from its first stroke."""
        share = min(_smooth((at - self.times[0]) / self.fade_s),
                    _smooth((self.times[-1] - at) / self.fade_s))  # fmt: skip
        if share <= 0.0:
            return state
        i = int(np.clip(np.searchsorted(self.times, at, "right") - 1, 0, len(self.times) - 2))
        u = _smooth((at - self.times[i]) / (self.times[i + 1] - self.times[i]))
        pose = (1 - u) * self.pose[i] + u * self.pose[i + 1]
        add = (1 - u) * self.add[i] + u * self.add[i + 1]
        return np.asarray(state + add + share * self.taken * (pose - state), np.float32)


def _smooth(u: float) -> float:
    """The smooth step from 0 to 1 (minimum jerk: Flash and Hogan, 1985)."""
    u = min(max(u, 0.0), 1.0)
    return u * u * u * (10.0 + u * (6.0 * u - 15.0))


def _curve(add: tuple[Key, ...], arms: tuple[Key, ...] = (), fade_s: float = 0.5) -> Curve:
    """A curve through named values; arms are in one pose before the first key and one after."""
    times = sorted({at for at, _ in add} | {at for at, _ in arms})
    added = np.array([_between(add, at, 0.0) for at in times])
    pose = np.array([_between(arms, at, 0.0) for at in times])
    taken = np.zeros(STATE_DIM)
    for name in {name for _, values in arms for name in values}:
        taken[INDEX[name]] = 1.0
    return Curve(np.array(times), added, pose, taken, fade_s)


def _between(keys: tuple[Key, ...], at: float, other: float) -> NDArray[np.float64]:
    """The values (88,) of keys at one of their times, or between two of them."""
    out = np.full(STATE_DIM, other)
    if keys:
        times = [time for time, _ in keys]
        for name in {name for _, values in keys for name in values}:
            values = [told.get(name, other) for _, told in keys]
            out[INDEX[name]] = np.interp(at, times, values)
    return out


_OPEN: Final = {
    "index_curl": 0.06, "middle_curl": 0.10, "ring_curl": 0.15, "little_curl": 0.18,
    "thumb_oppose": 0.05, "thumb_curl": 0.05, "spread": 0.25,
}  # fmt: skip
_FIST: Final = {
    "index_curl": 0.78, "middle_curl": 0.82, "ring_curl": 0.85, "little_curl": 0.88,
    "thumb_oppose": 0.6, "thumb_curl": 0.5, "spread": 0.0,
}  # fmt: skip


def _arm(side: str, **angles: float) -> dict[str, float]:
    """All values of one arm, those not named at 0."""
    return {f"{side}_{name}": angles.get(name, 0.0) for name in ARM}


def _both(**angles: float) -> dict[str, float]:
    return {**_arm("left", **angles), **_arm("right", **angles)}


def _nod() -> Curve:
    down, up = {"head_pitch": -0.17}, {"head_pitch": 0.03}
    return _curve(((-0.3, {}), (0.0, down), (0.28, up), (0.55, {"head_pitch": -0.11}), (1.0, {})))


def _shrug() -> Curve:
    up = {"clavicle_lift_left": 0.26, "clavicle_lift_right": 0.26, "head_roll": 0.07,
          "browInnerUp": 0.3, "browOuterUpLeft": 0.25, "browOuterUpRight": 0.25}  # fmt: skip
    arms = _both(flex=0.22, abduct=0.30, twist=-0.10, elbow=1.5, forearm=-1.35, wrist_flex=-0.2,
                 **_OPEN)  # fmt: skip
    return _curve(((-0.6, {}), (0.0, up), (0.6, up), (1.5, {})), ((-0.6, arms), (1.5, arms)))


def _open_palms() -> Curve:
    near = _both(flex=0.24, abduct=0.14, twist=0.45, elbow=1.7, forearm=-0.3, **_OPEN)
    out = _both(flex=0.36, abduct=0.24, twist=0.08, elbow=1.32, forearm=-1.3, wrist_flex=-0.1,
                **_OPEN)  # fmt: skip
    lean = {"spine_pitch": -0.03, "browInnerUp": 0.15}
    keys = ((-0.7, near), (-0.3, near), (0.0, out), (0.9, out), (1.9, out))
    return _curve(((-0.7, {}), (0.0, lean), (0.9, lean), (1.9, {})), keys)


def _count() -> Curve:
    up = {"flex": 0.5, "abduct": 0.26, "twist": -0.1, "elbow": 2.1, "forearm": 0.9,
          "wrist_flex": -0.4}  # fmt: skip
    one = {**up, **_FIST, "index_curl": 0.0}
    two = {**one, "middle_curl": 0.03, "spread": 0.4}
    three = {**two, "ring_curl": 0.06, "spread": 0.5}
    keys: list[Key] = [(-0.7, _arm("right", **up, **_FIST))]
    for at, shape in ((0.0, one), (0.75, two), (1.5, three)):
        down = {**shape, "elbow": 1.98}
        keys += [
            (at - 0.25, _arm("right", **{**shape, "elbow": 2.18})),
            (at, _arm("right", **down)),
        ]
    keys += [(2.0, keys[-1][1]), (3.0, keys[-1][1])]
    return _curve(((-0.7, {}), (3.0, {})), tuple(keys))


def _wave() -> Curve:
    up = {"flex": 0.50, "abduct": 0.50, "twist": -0.10, "elbow": 2.2, "forearm": 0.9,
          "wrist_flex": -0.45, **_OPEN}  # fmt: skip
    tilts = (-0.30, 0.30, -0.28, 0.28, -0.20)
    keys: list[Key] = [(-0.7, _arm("right", **up))]
    for i, tilt in enumerate(tilts):
        keys.append((0.24 * i, _arm("right", **up, wrist_dev=tilt)))
    keys.append((1.9, _arm("right", **up)))
    return _curve(((-0.7, {}), (0.0, {"head_roll": -0.04}), (1.9, {})), tuple(keys))


def _emotion(seconds: float, **values: float) -> Curve:
    """Up within 0.4 s, there for ``seconds``, gone 1.2 s later."""
    return _curve(((-0.4, {}), (0.0, values), (seconds, values), (seconds + 1.2, {})))


GESTURES: Final[Mapping[str, Curve]] = {
    "nod": _nod(), "shrug": _shrug(), "open_palms": _open_palms(), "count": _count(),
    "wave": _wave(),
}  # fmt: skip
EMOTIONS: Final[Mapping[str, Curve]] = {
    "warm": _emotion(
        4.0, mouthSmileLeft=0.34, mouthSmileRight=0.32, cheekSquintLeft=0.3, cheekSquintRight=0.3,
        browInnerUp=0.08, head_roll=0.05,
    ),
    "serious": _emotion(
        4.0, mouthSmileLeft=-0.25, mouthSmileRight=-0.25, browDownLeft=0.42, browDownRight=0.42,
        eyeSquintLeft=0.12, eyeSquintRight=0.12, head_pitch=-0.04,
    ),
    "surprised": _emotion(
        1.2, browInnerUp=0.6, browOuterUpLeft=0.6, browOuterUpRight=0.6, eyeWideLeft=0.5,
        eyeWideRight=0.5, head_pitch=0.06, spine_pitch=0.02,
    ),
}  # fmt: skip
UNITS: Final = slice(0, SLICES["upper_face"].stop - 2)  # face units, which stay within 0 and 1
