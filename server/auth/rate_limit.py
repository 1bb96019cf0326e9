"""How often somebody may ask: token buckets, one for each name, in bounded memory. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

from server.errors import RateLimited

MAX_NAMES: Final = 10_000
MESSAGES_PER_S: Final = 20.0  # on a data channel, unless the settings say otherwise
MESSAGES_AT_ONCE: Final = 40


class Bucket:
    """``rate`` a second on average, ``burst`` at once; ``now`` in seconds, from any clock."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a bucket needs rate {rate} > 0 and burst {burst} >= 1")
        self.rate, self.burst = rate, burst
        self._tokens, self._at = burst, now

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 when there is one. Takes none."""
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def take(self, now: float) -> float:
        """As ``wait``; when that is 0, one token is spent."""
        seconds = self.wait(now)
        if seconds == 0.0:
            self.spend()
        return seconds

    def spend(self) -> None:
        """Takes a token, also one that was waited for."""
        self._tokens -= 1.0


class Buckets:
    """One bucket a name. Names that have not asked for longest are forgotten first.

    A ``rate`` of 0 is no limit. Forgetting gives a full bucket back, so a client with more than
    ``MAX_NAMES`` addresses evades this; slots and sessions per key still bound what they use.
    """

    def __init__(self, rate: float, burst: float, what: str) -> None:
        self._rate, self._burst, self._what = rate, burst, what
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, now: float) -> None:
        """Spends one. Raises ``RateLimited``, which says when to come back."""
        if self._rate > 0:
            self._refuse(self._bucket(name, now).take(now))

    def check(self, name: str, now: float) -> None:
        """As ``take``, without spending."""
        if self._rate > 0:
            self._refuse(self._bucket(name, now).wait(now))

    def _refuse(self, wait_s: float) -> None:
        if wait_s > 0:
            raise RateLimited(
                f"More than {self._rate * 60:g} {self._what} a minute; wait {wait_s:.1f} s.",
                retry_after_s=math.ceil(wait_s),
            )

    def _bucket(self, name: str, now: float) -> Bucket:
        if name not in self._known:
            self._known[name] = Bucket(self._rate, self._burst, now)
            if len(self._known) > MAX_NAMES:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return self._known[name]
