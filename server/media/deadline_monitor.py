"""Whether the model keeps up: when a step's audio was complete, and which frames were late. Pure.

A frame counts as late when it would have missed its time even without network jitter. Frames that
wait for a late packet are the network's fault and say nothing about load.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

REMEMBERED = 1024  # stretches of audio, of 20 ms or less


@dataclass(frozen=True, slots=True)
class FrameTiming:
    """A frame that has just been finished: media times of it and of its step."""

    media_time: int
    start: int  # of its step
    needs: int  # up to where its step had to hear


class DeadlineMonitor:
    """One stream's account. Positions and media times count 16 kHz samples."""

    def __init__(self) -> None:
        self._heard: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._late = 0

    def heard(self, end: int, now: int) -> None:
        """The timeline reaches ``end`` since position ``now``."""
        self._heard.append((end, now))

    def complete(self, needs: int) -> int | None:
        """The position at which everything up to ``needs`` was there; None when it is forgotten."""
        found = None
        for end, now in reversed(self._heard):
            if end < needs:
                break
            found = now
        return found

    def observe(self, made: FrameTiming, now: int, delay: int) -> tuple[int, int] | None:
        """A frame is ready at ``now``, to leave ``delay`` after its media time.

        Returns when its audio was complete, and how long after that it was ready, counted from
        the step's beginning; None when that is no longer known.
        """
        complete = self.complete(made.needs)
        if complete is None:
            return None
        held_up = max(0, complete - made.needs)
        self._late += now - held_up > made.media_time + delay
        return complete, now - complete - (made.media_time - made.start)

    def take(self) -> int:
        """Frames that the model was late with since this was asked last."""
        late, self._late = self._late, 0
        return late
