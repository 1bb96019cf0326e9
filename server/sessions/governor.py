"""Load shedding when frames are late. Pure; its seconds are handed to it.

It acts on what viewers see: the share of a second's frames that the model made too late or never.
Engine load does not count: a machine that is always busy and always in time loses nothing. It
reduces the size of the encoded frames, level by level. If that is not enough, the engine skips
ahead and frames are lost.

It restores one level after a good while, and waits twice as long after each time that this was too
early, so that a load that just fits the lower level does not oscillate. It resets when the last
session has ended, because the next one is another load.
"""

from __future__ import annotations

from collections import deque

SCALES = (1.0, 0.75, 0.5)  # of the encoded frames' sides, by level
LATE = 0.02  # of a second's frames: 24.5 of 25 must be in time
BAD, OF = 3, 5  # so many seconds of so many must have been bad
PATIENCE_S, MOST_S = 15, 240  # of good seconds before a level is given back


class Governor:
    """One level for the whole server: 0 is everything."""

    def __init__(self) -> None:
        self.level = 0
        self._recent: deque[bool] = deque(maxlen=OF)
        self._good = 0  # seconds in a row
        self._since = 0  # seconds since the last move
        self._gave_back = False  # the last move was one up the ladder
        self._patience = PATIENCE_S

    @property
    def scale(self) -> float:
        """Of the sides of the encoded frames: 1 is full size."""
        return SCALES[self.level]

    def rest(self) -> bool:
        """The last session has ended: back to full quality. Returns whether that is a change."""
        moved = self.level > 0
        self.level = self._good = self._since = 0
        self._recent.clear()
        self._gave_back, self._patience = False, PATIENCE_S
        return moved

    def second(self, late: float) -> int:
        """Takes the share of late frames of the last second; returns the change of level."""
        bad = late > LATE
        self._recent.append(bad)
        self._good = 0 if bad else self._good + 1
        self._since += 1
        if sum(self._recent) >= BAD and self.level + 1 < len(SCALES):
            early = self._gave_back and self._since <= self._patience
            self._patience = min(2 * self._patience, MOST_S) if early else PATIENCE_S
            return self._move(+1)
        if self._good >= self._patience and self.level > 0:
            return self._move(-1)
        return 0

    def _move(self, step: int) -> int:
        self.level += step
        self._gave_back = step < 0
        self._good = self._since = 0
        self._recent.clear()
        return step
