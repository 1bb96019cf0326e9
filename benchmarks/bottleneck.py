"""A narrow place on a path: a rate, a bounded queue in front of it, and what it drops. Pure."""

from __future__ import annotations

from dataclasses import dataclass

OVERHEAD = 28  # bytes of IPv4 and UDP around each datagram


@dataclass(slots=True)
class Bottleneck:
    """A router that sends ``rate`` bits a second and holds ``queue_s`` of them; tail drop."""

    rate: float = 0.0  # 0 is no bound
    queue_s: float = 0.3
    dropped: int = 0
    _free_s: float = float("-inf")

    def passes_s(self, size: int, now_s: float) -> float | None:
        """When a datagram of ``size`` bytes has passed; None when the queue has no room for it."""
        if self.rate <= 0:
            return now_s
        begin = max(self._free_s, now_s)
        if begin - now_s > self.queue_s:
            self.dropped += 1
            return None
        self._free_s = begin + (size + OVERHEAD) * 8 / self.rate
        return self._free_s
