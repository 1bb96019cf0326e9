"""Position of a packet on the media timeline, from RTP timestamp and arrival time. Pure.

The sender's timestamps give the spacing, arrival times the anchor. A packet placed behind now is
late (jitter); one placed ahead is early (a burst from a synthesizer, or a microphone whose first
packet was delayed). The anchor follows slow drift in whole blocks, so that packets stay aligned
with chunks. A packet that was overtaken by others, or that waited while the process stood still,
does not move the anchor. All positions count 48 kHz samples.
"""

from __future__ import annotations

from collections import deque

from server.media.arrival_statistics import BLOCK, RATE, ArrivalStatistics

STALE = RATE // 5  # later than this, the sender paused or the path stalled: begin again
STRAGGLER = RATE  # overtaken by others, and no later than this: nothing else has changed
EARLY_LIMIT = 60 * RATE  # further ahead than this, the timestamps have jumped
LIVE_AHEAD = 15 * BLOCK  # a microphone cannot be further ahead of time: its path had stalled
BACK = 8  # packets that must fit the old anchor, in real time, to return to it
WRAP = 1 << 32


class RtpTimestamps:
    """Maps one source's RTP timestamps to timeline positions."""

    def __init__(self, clock_rate: int = RATE, ahead: int = 0) -> None:
        """``ahead`` is how far ahead of its time a burst may be, beside what jitter explains."""
        if clock_rate <= 0:
            raise ValueError(f"clock rate must be positive, not {clock_rate}")
        self._clock_rate = clock_rate
        self._early_limit = ahead + EARLY_LIMIT
        self._base: int | None = None
        self._before: int | None = None  # the anchor before this one
        self._back: deque[int] = deque(maxlen=BACK)  # arrivals that would fit it
        self._unwrapped: int | None = None
        self._newest: int | None = None  # the end of what was sent last of all that has come
        self._kept_until = 0  # packets that come until then were kept from us by ourselves
        self._arrivals = ArrivalStatistics()
        self.anchors = 0

    def place(self, timestamp: int, samples: int, now: int) -> int:
        """The position of a packet of ``samples`` that arrives at position ``now``."""
        stamp = self._unwrap(timestamp) * RATE // self._clock_rate + samples
        if self._base is None or not self._fits(stamp, now - (stamp + self._base), now):
            self._anchor(stamp, now)
        assert self._base is not None
        self._newest = stamp if self._newest is None else max(self._newest, stamp)
        end = stamp + self._base
        if now >= self._kept_until:
            self._arrivals.add(now, end)
        self._compare(stamp, now)
        return end - samples

    def stood_still(self, until: int) -> None:
        """The process stood still; packets that waited meanwhile are read ``until`` then."""
        self._kept_until = until

    def _fits(self, stamp: int, lateness: int, now: int) -> bool:
        """Whether the anchor still holds, of a packet that comes so late."""
        if lateness <= -self._early_limit:
            return False
        overtaken = self._newest is not None and stamp < self._newest
        return lateness <= (STRAGGLER if overtaken else STALE) or now < self._kept_until

    def rtp(self, position: int) -> int | None:
        """The RTP timestamp, as sent, of the sample at ``position``."""
        if self._base is None:
            return None
        return (position - self._base) * self._clock_rate // RATE % WRAP

    def reset(self) -> None:
        """Forgets the anchor: the next packet belongs now."""
        self._base = self._before = None
        self._arrivals.clear()

    def shift(self, samples: int) -> None:
        """Moves everything still to come by ``samples``."""
        if self._base is not None:
            self._base += samples
            self._before = None
            self._arrivals.clear()

    @property
    def jitter(self) -> int:
        """How late packets come (95 of 100), counted from where the anchor expects them."""
        return self._arrivals.jitter

    def correction(self, live: bool = False) -> int:
        """By how many whole blocks of samples to shift: positive is later, negative drops some.

        Nothing is dropped unless the source is seen to run in real time, or is known to be ``live``
        (a microphone), which cannot be ahead of time.
        """
        if live and -self._arrivals.lateness > LIVE_AHEAD:
            return self._arrivals.lateness // BLOCK * BLOCK
        if self._stalled and self._before is not None and self._base is not None:
            return self._before - self._base
        return self._arrivals.drift()

    @property
    def _stalled(self) -> bool:
        """Whether packets have come back to where they were before the last new anchor."""
        back = self._back
        return len(back) == BACK and back[-1] - back[0] >= (BACK - 2) * BLOCK

    def _compare(self, stamp: int, now: int) -> None:
        """Tells a stalled path from a sender that paused.

        What a path held up comes in a burst, and then packets are where the old anchor expects
        them; a sender that paused without counting stays late for good.
        """
        if self._before is None:
            return
        if -2 * BLOCK < now - (stamp + self._before) < STALE // 2:
            self._back.append(now)
        else:
            self._back.clear()

    def _anchor(self, end: int, now: int) -> None:
        self._newest = None
        self._before, self._base = self._base, now // BLOCK * BLOCK - end
        self._back.clear()
        self._arrivals.clear()
        self.anchors += 1

    def _unwrap(self, timestamp: int) -> int:
        if self._unwrapped is None:
            self._unwrapped = timestamp
        step = (timestamp - self._unwrapped + WRAP // 2) % WRAP - WRAP // 2
        self._unwrapped += step
        return self._unwrapped
