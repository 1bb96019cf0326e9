"""How much the body moves, and what it is told to do, on top of what was generated.

Works on body states, after the decoder: lips stay as they are, and eyes keep their look while head
and trunk move more or less. Changes glide.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.interface import Cue, Direction
from pipeline.models.mini.body_cues import EMOTIONS, GESTURES, UNITS, Curve
from pipeline.models.mini.config import FRAME_RATE, SAMPLE_RATE
from pipeline.models.mini.rig.limits import ARM_HIGH, ARM_LOW
from pipeline.models.mini.rig.state import INDEX, SLICES
from pipeline.models.mini.vae import carried_gaze

F32 = NDArray[np.float32]

WAITING: Final = 64  # cues of one stream; the oldest gives way
_GLIDE: Final = 0.12  # of the way to another scale in a frame
_SLOW: Final = 0.04  # of the way in a frame: the pose around which hands move (a second)
_BODY: Final = slice(SLICES["torso"].start, SLICES["right_arm"].stop)
_BREATH: Final = INDEX["breath"] - _BODY.start
_ARMS: Final = slice(SLICES["left_arm"].start, SLICES["right_arm"].stop)
_TO_ROOM, _FROM_ROOM = (carried_gaze(sign).numpy() for sign in (1.0, -1.0))


class BodyDirection:
    """Of one performance; ``rest`` (88,) is the state of its picture."""

    def __init__(self, rest: F32, direction: Direction | None = None) -> None:
        direction = direction or Direction()
        self.scale = self._now = direction.gesture
        self._rest = rest[_BODY]
        self._low = np.minimum(np.tile(ARM_LOW, 2), rest[_ARMS])
        self._high = np.maximum(np.tile(ARM_HIGH, 2), rest[_ARMS])
        self._slow: F32 | None = None
        self._begun: deque[tuple[float, Curve]] = deque(maxlen=WAITING)  # when each one lands, s
        for cue in direction.cues:
            self.cue(cue, 0)

    def cue(self, cue: Cue, now: int) -> None:
        """Perform a cue; its stroke lands at its time, or as soon as there is time to prepare it
        after sample ``now``."""
        named = (GESTURES.get(cue.gesture), EMOTIONS.get(cue.emotion))
        for curve in named:
            if curve is not None:
                soonest = now / SAMPLE_RATE + curve.lead_s
                self._begun.append((max(cue.at / SAMPLE_RATE, soonest), curve))

    def __call__(self, state: F32, index: int) -> F32:
        """The state (88,) of frame ``index`` as it is to be seen. Frames come in order."""
        self._now += _GLIDE * (self.scale - self._now)
        if abs(self._now - 1.0) > 1e-3 or self.scale != 1.0:
            state = self._scaled(state)
        else:
            self._slow = None
        return self._cued(state, index / FRAME_RATE) if self._begun else state

    def _scaled(self, state: F32) -> F32:
        """Less is nearer to the picture's pose; more is further from the pose of the last second,
        so that hands move more without being carried higher."""
        out = state @ _TO_ROOM
        body = out[_BODY]
        self._slow = body if self._slow is None else self._slow + _SLOW * (body - self._slow)
        more = max(self._now - 1.0, 0.0) * (body - self._slow)
        moved = self._rest + min(self._now, 1.0) * (body - self._rest) + more
        moved[_BREATH] = body[_BREATH]
        out[_BODY] = moved
        out[_ARMS] = np.clip(out[_ARMS], self._low, self._high)
        return np.asarray(out @ _FROM_ROOM, np.float32)

    def _cued(self, state: F32, at: float) -> F32:
        out = state @ _TO_ROOM
        for lands, curve in self._begun:
            out = curve.blend(out, at - lands)
        out[UNITS] = np.clip(out[UNITS], 0.0, 1.0)
        while self._begun and at > self._begun[0][0] + self._begun[0][1].end_s:
            self._begun.popleft()
        return np.asarray(out @ _FROM_ROOM, np.float32)
