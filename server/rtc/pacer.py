"""When each packet leaves: a leaky bucket for one peer. Pure; its seconds are handed to it.

Sound leaves at once. Retransmissions go before new frames, but not before a key frame, which
makes them useless. Frames leave whole and in order at slightly more than the estimate, so that a
key frame is spread over time instead of filling a network queue that sound would wait in. A
frame that would wait too long is dropped, and so are the following ones until the next key frame,
because they could not be decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Packet = TypeVar("Packet")

FASTER = 1.5  # than the estimate
BURST_S = 0.005
FULL_S = 0.12  # waiting for longer than this, pictures should not be made
MOST_S = 0.4  # waiting for longer than this, they are refused
REPEATS = 64  # lost packets that may wait


@dataclass(frozen=True, slots=True)
class Queued(Generic[Packet]):
    """A packet and its bytes on the wire."""

    packet: Packet
    size: int


class Pacer(Generic[Packet]):
    """Packets in, packets out when they are due."""

    def __init__(self, rate: float) -> None:
        self.rate = rate  # bits a second; the estimate
        self.dropped = 0  # pictures
        self._pictures: deque[deque[Queued[Packet]]] = deque()
        self._begun = False  # a part of the first picture has left
        self._repeats: deque[Queued[Packet]] = deque()
        self._bytes = 0
        self._free_s = float("-inf")  # when the bucket is empty
        self._broken = False  # a picture is missing: only a key frame can follow

    @property
    def backlog_s(self) -> float:
        """How long what waits takes to leave."""
        return self._bytes * 8 / (self.rate * FASTER)

    @property
    def full(self) -> bool:
        """Whether a picture made now would wait too long."""
        return self.backlog_s > FULL_S

    def picture(self, packets: Sequence[Queued[Packet]], key: bool) -> bool:
        """Queues one picture's packets; False when it is refused and a key frame is needed."""
        if self._broken and not key:
            return False
        size = sum(packet.size for packet in packets)
        waits = self.backlog_s > MOST_S
        if waits and not key:
            self._broken, self.dropped = True, self.dropped + 1
            return False
        if key:
            self._bytes -= sum(packet.size for packet in self._repeats)
            self._repeats.clear()
        if waits:
            self._forget()
        self._broken = False
        self._pictures.append(deque(packets))
        self._bytes += size
        return True

    def repeat(self, packet: Queued[Packet]) -> bool:
        """Queues a packet that was lost; False when too many wait."""
        if len(self._repeats) >= REPEATS:
            return False
        self._repeats.append(packet)
        self._bytes += packet.size
        return True

    def spend(self, size: int, now_s: float) -> None:
        """Something leaves past the queue; what waits has that much less room."""
        begin = max(self._free_s, now_s - BURST_S)
        self._free_s = begin + size * 8 / (self.rate * FASTER)

    def due(self, now_s: float) -> Packet | None:
        """The next packet, if it may leave now."""
        return self.pull(now_s) if self._free_s <= now_s else None

    def pull(self, now_s: float) -> Packet | None:
        """The next packet, due or not."""
        if not self._repeats and not self._pictures:
            return None
        queued = self._repeats.popleft() if self._repeats else self._next()
        self._bytes -= queued.size
        self.spend(queued.size, now_s)
        return queued.packet

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due; None when nothing waits."""
        if not self._repeats and not self._pictures:
            return None
        return max(0.0, self._free_s - now_s)

    def _next(self) -> Queued[Packet]:
        picture = self._pictures[0]
        queued, self._begun = picture.popleft(), bool(picture)
        if not picture:
            self._pictures.popleft()
        return queued

    def _forget(self) -> None:
        """A key frame needs nothing of what waits before it; half a picture is never left."""
        while len(self._pictures) > self._begun:
            picture = self._pictures.pop()
            self._bytes -= sum(packet.size for packet in picture)
            self.dropped += 1
