"""Recently sent packets, kept for retransmission. Pure; its seconds are handed to it.

RFC 4585, section 6.2.1, and RFC 4588. A packet is sent again a few times at most, and not while the
previous one may still be on its way. All retransmissions together stay a small share of the rate.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Packet = TypeVar("Packet")

REMEMBERED_S = 1.5  # older than this, a picture is no longer waited for
REMEMBERED = 1024  # packets
TIMES = 6
APART_S = 0.01  # the least between two times
SHARE = 0.3  # of the rate
BURST_S = 1.0  # of that share, at once


@dataclass(slots=True)
class Sent(Generic[Packet]):
    """A packet, when it was sent last, and how often again."""

    packet: Packet
    size: int
    at_s: float
    last_s: float
    times: int = 0


class History(Generic[Packet]):
    """The last second and a half of one stream."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, Sent[Packet]] = OrderedDict()
        self._spent, self._since_s = 0.0, 0.0  # bits of the share, as of then
        self.refused = 0

    def add(self, sequence: int, packet: Packet, size: int, now_s: float) -> None:
        """A packet leaves for the first time."""
        self._sent.pop(sequence, None)
        self._sent[sequence] = Sent(packet, size, now_s, now_s)
        while self._sent:
            oldest = next(iter(self._sent.values()))
            if len(self._sent) <= REMEMBERED and oldest.at_s > now_s - REMEMBERED_S:
                break
            self._sent.popitem(last=False)

    def again(self, sequence: int, rate: float, rtt_s: float, now_s: float) -> Packet | None:
        """The packet, if it is to be sent again now."""
        sent = self._sent.get(sequence)
        if sent is None or sent.at_s < now_s - REMEMBERED_S:
            return None
        early = sent.times > 0 and now_s - sent.last_s < max(APART_S, 0.9 * rtt_s)
        if early or sent.times >= TIMES or not self._afford(sent.size, rate, now_s):
            self.refused += 1
            return None
        sent.times, sent.last_s = sent.times + 1, now_s
        return sent.packet

    def settle(self) -> None:
        """A key frame follows: nothing from before it is needed any more."""
        for sent in self._sent.values():
            sent.times = TIMES

    def largest(self, count: int) -> list[Packet]:
        """Large packets of late, ``count`` in all, to fill a burst that tells nothing new."""
        recent = list(self._sent.values())[-4 * count :]
        large = sorted(recent, key=lambda sent: -sent.size)[:4]
        return [large[i % len(large)].packet for i in range(count)] if large else []

    def _afford(self, size: int, rate: float, now_s: float) -> bool:
        earned = (now_s - self._since_s) * rate * SHARE
        self._spent, self._since_s = max(0.0, self._spent - earned), now_s
        if self._spent + size * 8 > rate * SHARE * BURST_S:
            return False
        self._spent += size * 8
        return True
