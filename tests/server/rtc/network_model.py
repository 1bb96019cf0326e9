"""A call in virtual time: encoder, pacer, path and receiver, with no clock but a counter."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.bottleneck import Bottleneck
from server.rtc.bandwidth import Bandwidth
from server.rtc.pacer import Pacer, Queued
from server.rtc.send_path import AHEAD_S
from server.rtc.sent_packets import SentPackets
from server.rtc.transport_feedback import ArrivalLog, parse

STEP_S = 0.001
SOUND = 140
PACKET = 1200


@dataclass
class Path:
    """What happens between the two ends."""

    link: Bottleneck = field(default_factory=Bottleneck)
    loss: float = 0.0
    jitter_s: float = 0.0
    dark: bool = False
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def arrives_s(self, size: int, now_s: float) -> float | None:
        at_s = self.link.passes_s(size - 28, now_s)
        if at_s is None or self.dark or self.rng.random() < self.loss:
            return None
        return at_s + 0.02 + abs(self.rng.gauss(0, self.jitter_s))


@dataclass(frozen=True)
class Sending:
    """A packet of a picture."""

    size: int
    arrived: Callable[[], None]


class Call:
    """25 pictures and 50 blocks of sound a second, as fast as the estimate allows."""

    def __init__(self, start: int = 1_000_000, wanted: int = 3_000_000) -> None:
        self.path = Path()
        self.bandwidth = Bandwidth(start, 60_000, wanted)
        self.sent = SentPackets()
        self.pacer: Pacer[Sending] = Pacer(start)
        self.log = ArrivalLog()
        self.now_s = 0.0
        self.delays: list[tuple[float, float]] = []  # of pictures: when made, how long they took
        self.sounds: list[tuple[float, float | None]] = []
        self.skipped = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = 0
        self._left: deque[tuple[float, int]] = deque(maxlen=1000)  # when, bytes

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        frame = sound = self.now_s
        while self.now_s < end_s:
            if self.now_s >= sound:
                self._leave(SOUND, self._sound(self.now_s))
                self.pacer.spend(SOUND, self.now_s)
                sound += 0.02
            if self.now_s >= frame:
                self._picture()
                frame += 0.04
            while (packet := self.pacer.due(self.now_s)) is not None:
                self._leave(packet.size, packet.arrived)
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            self.now_s += STEP_S

    def estimate_over(self, seconds: float) -> float:
        """Mean estimate while the call goes on for so long."""
        found = []
        for _ in range(round(seconds * 10)):
            self.run(0.1)
            found.append(self.bandwidth.bitrate)
        return sum(found) / len(found)

    def worst_delay_s(self, since_s: float) -> float:
        return max((took for made, took in self.delays if made >= since_s), default=9.9)

    def _picture(self) -> None:
        self.pacer.rate = self.bandwidth.bitrate
        bits = max(20_000, self.bandwidth.bitrate - 50 * SOUND * 8) / 25
        leaves = sum(size for at, size in self._left if at >= self.now_s - 1) * 8
        unanswered_s = self.sent.in_flight * 8 / max(self.bandwidth.bitrate, leaves)
        if self.pacer.full or unanswered_s > self.bandwidth.rtt_s + AHEAD_S:
            self.skipped += 1
            return
        sizes = [PACKET] * int(bits / 8 // PACKET) + [int(bits / 8) % PACKET + 60]
        made_s = self.now_s
        left = [len(sizes)]

        def arrived() -> None:
            left[0] -= 1
            if not left[0]:
                self.delays.append((made_s, self.now_s - made_s))

        self.pacer.picture([Queued(Sending(size, arrived), size) for size in sizes], key=False)

    def _sound(self, made_s: float) -> Callable[[], None]:
        return lambda: self.sounds.append((made_s, self.now_s - made_s))

    def _leave(self, size: int, arrived: Callable[[], None]) -> None:
        number = self.sent.send(size, self.now_s)
        self._left.append((self.now_s, size))
        at_s = self.path.arrives_s(size, self.now_s)
        if at_s is not None:
            self._at(at_s, lambda: self._arrive(number, arrived))

    def _arrive(self, number: int, arrived: Callable[[], None]) -> None:
        arrived()
        message = self.log.add(number, 5000 + self.now_s)
        if message is not None:
            self._at(self.now_s + 0.02, lambda: self._feedback(message))

    def _feedback(self, message: bytes) -> None:
        self.bandwidth.feedback(self.sent.outcomes(parse(message)), self.now_s)

    def _at(self, at_s: float, what: Callable[[], None]) -> None:
        self._ties += 1
        heapq.heappush(self._events, (at_s, self._ties, what))
