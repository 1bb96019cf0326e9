"""Packets that were sent and not yet reported. Pure; its seconds are handed to it.

A packet counts as lost when one that left ``REORDER_S`` after it has arrived: a receiver that
reports ten times a second lists many packets as missing that are only late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.rtc.transport_feedback import WRAP, Arrival

REMEMBERED = 4096  # packets
REORDER_S = 0.3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a packet: ``came_s`` is by the receiver's clock, None for a lost one."""

    sent_s: float
    came_s: float | None
    size: int
    probe: int = 0  # the burst that it was part of; 0 is none


class SentPackets:
    """Numbers packets, and turns feedback into outcomes."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: OrderedDict[int, Outcome] = OrderedDict()
        self._newest_s = float("-inf")  # when the newest packet that has come was sent
        self.in_flight = 0  # bytes

    def send(self, size: int, now_s: float, probe: int = 0) -> int:
        """A packet of ``size`` bytes leaves; returns its number on the wire."""
        number, self._next = self._next, self._next + 1
        self._waiting[number] = Outcome(now_s, None, size, probe)
        self.in_flight += size
        while len(self._waiting) > REMEMBERED:
            _, oldest = self._waiting.popitem(last=False)
            self.in_flight -= oldest.size
        return number % WRAP

    def outcomes(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """What the feedback settles, in the order of sending."""
        settled = []
        for arrival in arrivals:
            packet = self._pop(arrival.number) if arrival.at_s is not None else None
            if packet is not None:
                settled.append(replace(packet, came_s=arrival.at_s))
        self._newest_s = max([self._newest_s, *(one.sent_s for one in settled)])
        settled += self._lost()
        return sorted(settled, key=lambda one: one.sent_s)

    def waited_s(self, now_s: float) -> float:
        """Since when the oldest packet without an answer is out."""
        oldest = next(iter(self._waiting.values()), None)
        return now_s - oldest.sent_s if oldest is not None else 0.0

    def _pop(self, number: int) -> Outcome | None:
        """The packet of a number on the wire; the newest one that had it."""
        unwrapped = self._next - 1 - (self._next - 1 - number) % WRAP
        packet = self._waiting.pop(unwrapped, None)
        if packet is not None:
            self.in_flight -= packet.size
        return packet

    def _lost(self) -> list[Outcome]:
        lost = []
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest].sent_s > self._newest_s - REORDER_S:
                break
            lost.append(self._waiting.pop(oldest))
            self.in_flight -= lost[-1].size
        return lost
