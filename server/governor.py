"""What to shed when there is too much to do. Pure.

Sheds, in this order, what a person misses least: the size of the encoded picture, in two steps.
Frames are only lost when that is not enough, by the engine's skipping ahead. It acts on load (the
share of real time that the engine thread is busy), and gives back more slowly than it takes.
"""

from __future__ import annotations

SCALES = (1.0, 0.75, 0.5)
HIGH, LOW = 0.90, 0.60
DOWN_AFTER, UP_AFTER = 2, 15  # seconds of high, of low load


class Governor:
    """One level for the whole server: 0 is everything."""

    def __init__(self) -> None:
        self.level = 0
        self._high = self._low = 0

    @property
    def scale(self) -> float:
        """By how much pictures are scaled before they are encoded."""
        return SCALES[self.level]

    def second(self, load: float) -> int:
        """Hears the load of the last second; returns the change of level."""
        self._high = self._high + 1 if load > HIGH else 0
        self._low = self._low + 1 if load < LOW else 0
        if self._high >= DOWN_AFTER and self.level + 1 < len(SCALES):
            return self._move(+1)
        if self._low >= UP_AFTER and self.level > 0:
            return self._move(-1)
        return 0

    def _move(self, step: int) -> int:
        self.level += step
        self._high = self._low = 0
        return step
