"""The sending rate, from the state of the path. Pure; its seconds are handed to it.

The rate controller of Google congestion control (draft-ietf-rmcat-gcc-02, section 5.5). On overuse
the rate falls to a share of the received rate. Otherwise it grows: by a percentage a second while
the capacity is unknown, by about one packet each round trip near the last known capacity.
"""

from __future__ import annotations

from math import sqrt

from server.rtc.delay_trend import Usage

BACK_OFF = 0.85
GROWTH = 1.08  # a second
HEADROOM = 1.5  # above what arrives, no estimate is worth anything
PACKET_BITS = 1200 * 8
AGAIN_S = 0.2  # a path that was just relieved needs a round trip to show it


class RateControl:
    """Bits a second."""

    def __init__(self, start: int, least: int, most: int) -> None:
        self.bitrate = float(start)
        self._least, self._most = least, most
        self._holds = False
        self._changed_s: float | None = None
        self._fell_s = float("-inf")
        self._capacity: float | None = None  # mean of what arrived at overuse, bits/s
        self._variance = 0.4

    def update(self, usage: Usage, arriving: float | None, rtt_s: float, now_s: float) -> None:
        """``arriving`` is what the receiver gets, bits a second."""
        elapsed = min(now_s - self._changed_s, 1.0) if self._changed_s is not None else 0.0
        self._changed_s = now_s
        if usage is Usage.OVER:
            if now_s - self._fell_s >= max(AGAIN_S, rtt_s) and arriving is not None:
                self._fall(arriving, now_s)
            self._holds = True
        elif usage is Usage.UNDER:
            self._holds = True  # the queue drains: growing now would fill it again
        elif self._holds:
            self._holds = False
        else:
            self._grow(arriving, rtt_s, elapsed)

    def raise_to(self, bitrate: float) -> None:
        """A probe has shown that more gets through."""
        if bitrate > self.bitrate:
            self.bitrate = min(bitrate, self._most)
            self._capacity = None

    def lower_to(self, bitrate: float) -> None:
        """Something else than delay says that less gets through."""
        self.bitrate = max(min(self.bitrate, bitrate), self._least)

    def _fall(self, arriving: float, now_s: float) -> None:
        self._fell_s = now_s
        if self._capacity is not None and arriving < self._capacity - 3 * self._deviation:
            self._capacity = None
        fallen = min(self.bitrate, BACK_OFF * arriving)
        self.bitrate = min(max(fallen, self._least), self._most)
        self._learn(arriving)

    def _grow(self, arriving: float | None, rtt_s: float, elapsed_s: float) -> None:
        if self._outgrown(arriving):
            self._capacity = None
        if self._capacity is not None:
            grown = self.bitrate + elapsed_s * PACKET_BITS / (rtt_s + 0.1)
        else:
            grown = self.bitrate * GROWTH**elapsed_s
        if arriving is not None:
            grown = min(grown, max(HEADROOM * arriving + 10_000, self.bitrate))
        self.bitrate = min(max(grown, self._least), self._most)

    def _outgrown(self, arriving: float | None) -> bool:
        """Whether more arrives than was taken for the most."""
        if self._capacity is None or arriving is None:
            return False
        return arriving > self._capacity + 3 * self._deviation

    def _learn(self, arriving: float) -> None:
        """Mean and normalised variance of the capacity, in kbit/s as in the draft."""
        if self._capacity is None:
            self._capacity = arriving
        error = (self._capacity - arriving) / 1000
        self._capacity += 0.05 * (arriving - self._capacity)
        norm = max(self._capacity / 1000, 1.0)
        self._variance = min(max(0.95 * self._variance + 0.05 * error**2 / norm, 0.4), 2.5)

    @property
    def _deviation(self) -> float:
        kbit = (self._capacity or 0.0) / 1000
        return 1000 * sqrt(self._variance * kbit)
