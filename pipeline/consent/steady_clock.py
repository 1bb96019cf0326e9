"""The registry's clock: wall time that never runs backwards.

Expiry is judged by it, so setting the machine's clock back prolongs nothing. Within a process a
monotonic clock ensures that; after a restart, the newest time in the audit log does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SteadyClock:
    """Seconds since the epoch; never behind where a monotonic clock would be by now."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._lock = threading.Lock()
        self._latest, self._at = wall(), monotonic()

    def not_before(self, moment: float) -> None:
        """Something is known to have happened at ``moment``: it is that late, at least."""
        with self._lock:
            self._latest = max(self._latest, moment)

    def __call__(self) -> float:
        with self._lock:
            wall, at = self._wall(), self._monotonic()
            self._latest = max(wall, self._latest + (at - self._at))
            self._at = at
            return self._latest
