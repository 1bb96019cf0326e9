"""A session's clock: the only place that relates media time to wall clock.

Positions count 16 kHz samples since the session began. A sample that arrives now has the position
``now``; it leaves ``Playout.delay`` later. Knows nothing of audio or frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

RATE = 16_000
NTP_UNIX_OFFSET_S = 2_208_988_800


@dataclass(slots=True)
class SessionClock:
    """Counts samples since ``begin``. ``monotonic`` and ``wall`` are injected by tests."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    epoch_s: float = field(init=False)
    wall_epoch_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """The epoch is now."""
        self.epoch_s, self.wall_epoch_s = self.monotonic(), self.wall()

    def now(self) -> int:
        """The position that arrives at this moment."""
        return int((self.monotonic() - self.epoch_s) * RATE)

    def until(self, position: int) -> float:
        """Seconds from now to ``position``; negative when it has passed."""
        return self.epoch_s + position / RATE - self.monotonic()

    def unix_s(self, position: int) -> float:
        """Unix seconds of the moment ``position``, as sender reports say it; to 0.1 ms."""
        return round(self.wall_epoch_s + position / RATE, 4)

    def ntp(self, elapsed_s: float) -> int:
        """64-bit NTP timestamp of the moment ``elapsed_s`` after the epoch (RFC 3550, section 4).

        Both media of a session use this one line, so a receiver can align them exactly.
        """
        return int((self.wall_epoch_s + NTP_UNIX_OFFSET_S + elapsed_s) * (1 << 32))
