"""What the packets of the last seconds say of a source: how late they come, and drift. Pure.

All positions count 48 kHz samples.
"""

from __future__ import annotations

from collections import deque

import numpy as np

RATE = 48_000
BLOCK = RATE // 50
TOLERANCE = BLOCK // 4  # earlier than this, all of them, packets are moved by a block
WINDOW_S = 2.0
JITTER_S = 2.0  # lateness that is longer ago says nothing of now


class ArrivalStatistics:
    """Packets against the positions at which the anchor expects them."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=512)  # now, end, lateness

    def add(self, now: int, end: int) -> None:
        """A packet that ends at position ``end`` has come at position ``now``."""
        self._recent.append((now, end, now - end))

    def clear(self) -> None:
        """The anchor has moved."""
        self._recent.clear()

    @property
    def lateness(self) -> int:
        """Of the newest packet; negative when it came early."""
        return self._recent[-1][2] if self._recent else 0

    @property
    def jitter(self) -> int:
        """How late packets come (95 of 100), counted from where the anchor expects them."""
        if not self._recent:
            return 0
        since = self._recent[-1][0] - JITTER_S * RATE
        late = [max(0, lateness) for now, _, lateness in self._recent if now > since]
        return max(late) if len(late) < 10 else int(np.percentile(late, 95))

    def drift(self) -> int:
        """By how many whole blocks of samples all packets come late; negative when early.

        0 unless the source is seen to run in real time: a burst is early on purpose.
        """
        window = self._window()
        if window is None:
            return 0
        lateness = [late for _, _, late in window]
        prompt, early = min(lateness), -max(lateness)
        if prompt >= BLOCK:
            return prompt // BLOCK * BLOCK
        return early // -BLOCK * BLOCK if early >= TOLERANCE else 0

    def _window(self) -> list[tuple[int, int, int]] | None:
        """The last two seconds, if they came at real time's pace."""
        if not self._recent:
            return None
        last = self._recent[-1]
        window = [row for row in self._recent if row[0] > last[0] - WINDOW_S * RATE]
        elapsed, heard = last[0] - window[0][0], last[1] - window[0][1]
        if elapsed < 0.8 * WINDOW_S * RATE or not 0.8 * elapsed <= heard <= 1.2 * elapsed:
            return None
        return window
