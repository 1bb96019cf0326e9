"""One peer's transport: what leaves on it and when, and the feedback about it.

Owns the peer's estimate, pacer and sequence numbers; the senders of one bundle share it. A shell
around pure parts (``bandwidth``, ``pacer``, ``sent_packets``, ``transport_feedback``) that receives
its clock. Bits are those on the wire, with headers of IP, UDP and SRTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.rtc.bandwidth import Bandwidth
from server.rtc.pacer import Pacer, Queued
from server.rtc.sent_packets import Outcome, SentPackets
from server.rtc.transport_feedback import parse

START, LEAST, MOST = 1_000_000, 60_000, 4_000_000
WIRE = 28 + 10  # bytes around an RTP packet: IPv4, UDP, the tag of SRTP
RATE_S = 1.0
AHEAD_S = 0.25  # of sending, beyond a round trip, that may be unanswered: feedback's own pace
DARK_S = 1.0  # without an answer: nothing comes through
KNOCK_S = 0.5  # into the dark, one picture in so many seconds
PROBE_EVERY_S, PROBE_MOST_S = 1.5, 6.0
PROBE_PACKETS, PROBE_S = 6, 0.02  # so many in a burst, and more where it would be shorter
PROBE_RATE = 2.0  # as fast as the estimate
PACKET_BITS = 1300 * 8


@dataclass(frozen=True, slots=True)
class Leaving:
    """A packet that waits for its time; ``go`` sends it, with its number on the transport."""

    go: Callable[[int], Awaitable[None]]
    size: int
    numbered: bool


class SendPath:
    """Made when a peer's first medium starts."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.bandwidth = Bandwidth(START, LEAST, MOST)
        self.wanted = MOST  # bits a second beyond which nothing is to be found out
        self.padding: Callable[[int], Sequence[Leaving]] = lambda count: ()
        self._now = now
        self._sent = SentPackets()
        self._pacer: Pacer[Leaving] = Pacer(START)
        self._work = asyncio.Event()
        self._left: deque[tuple[float, int]] = deque()  # when, bytes; of the last second
        self._fed = False  # this peer gives transport-wide feedback
        self._sound = 0.0  # bits a second
        self._picture_s = float("-inf")  # when one was queued last
        self._probe = 0
        self._probes: dict[int, tuple[int, list[Outcome]]] = {}
        self._burst: list[Leaving] = []
        self._probe_s, self._probe_wait_s = now(), PROBE_EVERY_S

    # -- what a picture may cost ---------------------------------------------------------------

    @property
    def bitrate(self) -> int:
        """Bits a second for pictures: the estimate less the sound."""
        return max(int((self.bandwidth.bitrate - self._sound) * 0.95), LEAST // 2)

    @property
    def full(self) -> bool:
        """Whether a picture made now would have to wait for long, here or on the way."""
        now = self._now()
        if now - self._picture_s > KNOCK_S:
            return False
        rate = max(self.bandwidth.bitrate, self._leaves())  # what is out left before a fall
        ahead = rate * (self.bandwidth.rtt_s + AHEAD_S)
        crowded = self._fed and self._sent.in_flight * 8 > ahead
        return self._pacer.full or crowded or self.dark

    @property
    def dark(self) -> bool:
        """Whether nothing comes through any more."""
        return self._fed and self._sent.waited_s(self._now()) > DARK_S

    # -- out -----------------------------------------------------------------------------------

    async def sound(self, packet: Leaving) -> None:
        """Sends at once."""
        bits = packet.size * 8 * 50
        self._sound += (bits - self._sound) / (50 if self._sound else 1)
        self._pacer.spend(packet.size, self._now())
        await self._send(packet)

    def picture(self, packets: Sequence[Leaving], key: bool) -> bool:
        """Queues the packets of one picture; False when a key frame is needed instead."""
        self._pacer.rate = self.bandwidth.bitrate
        taken = self._pacer.picture([Queued(one, one.size) for one in packets], key)
        if taken:
            self._picture_s = self._now()
            self._work.set()
        return taken

    def repeat(self, packet: Leaving) -> None:
        """Queues a packet that was lost, before pictures."""
        if self._pacer.repeat(Queued(packet, packet.size)):
            self._work.set()

    async def run(self) -> None:
        """Lets packets leave when they are due, until cancelled."""
        while True:
            if self._burst:
                await self._send_burst()
            wait_s = self._pacer.wait_s(self._now())
            if wait_s is None:
                self._work.clear()
                await self._work.wait()
            elif wait_s > 0:
                await asyncio.sleep(wait_s)
            while (packet := self._pacer.due(self._now())) is not None:
                await self._send(packet)

    async def _send_burst(self) -> None:
        """Faster than the estimate: what waits anyway, and padding where nothing does."""
        padding, self._burst = self._burst, []
        rate = self.bandwidth.bitrate * PROBE_RATE
        for spare in padding:
            packet = self._pacer.pull(self._now()) or spare
            await self._send(packet, self._probe)
            await asyncio.sleep(packet.size * 8 / rate)

    async def _send(self, packet: Leaving, probe: int = 0) -> None:
        numbered, now = packet.numbered, self._now()
        self._left.append((now, packet.size))
        while self._left[0][0] < now - RATE_S:
            self._left.popleft()
        await packet.go(self._sent.send(packet.size, now, probe) if numbered else 0)

    def _leaves(self) -> float:
        """Bits a second that leave."""
        return sum(size for _, size in self._left) * 8 / RATE_S

    # -- back ----------------------------------------------------------------------------------

    def feedback(self, fci: bytes) -> None:
        """Takes transport-wide feedback; what cannot be read is left out."""
        try:
            arrivals = parse(fci)
        except ValueError:
            return
        self._fed = True
        outcomes = self._sent.outcomes(arrivals)
        self.bandwidth.feedback(outcomes, self._now())
        self._pacer.rate = self.bandwidth.bitrate
        self._hear_probes(outcomes)
        self._maybe_probe()

    def remb(self, bitrate: int) -> None:
        """Takes a receiver's own estimate."""
        self.bandwidth.remb(bitrate, self._leaves(), self._now())

    def report(self, lost_share: float) -> None:
        """Takes a receiver report."""
        self.bandwidth.report(lost_share, self._now())

    # -- how much more would get through ---------------------------------------------------------

    def _maybe_probe(self) -> None:
        now, estimate = self._now(), self.bandwidth.bitrate
        early = now - self._probe_s < self._probe_wait_s
        if early or estimate >= self.wanted or not self.bandwidth.calm:
            return
        count = max(PROBE_PACKETS, round(estimate * PROBE_RATE * PROBE_S / PACKET_BITS))
        packets = self.padding(count)
        if len(packets) < PROBE_PACKETS:
            return
        self._probe, self._probe_s, self._burst = self._probe + 1, now, list(packets)
        self._probes = {self._probe: (len(packets), [])}
        self._probe_wait_s = min(self._probe_wait_s * 1.5, PROBE_MOST_S)
        self._work.set()

    def _hear_probes(self, outcomes: Sequence[Outcome]) -> None:
        for one in outcomes:
            if one.probe in self._probes:
                self._probes[one.probe][1].append(one)
        for probe, (count, heard) in list(self._probes.items()):
            if len(heard) == count:
                del self._probes[probe]
                if self.bandwidth.probed(heard):
                    self._probe_wait_s = PROBE_EVERY_S
