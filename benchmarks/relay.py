"""A bad network between a caller and a server: a UDP relay that loses, delays and narrows.

It stands where the answer's candidate stood, so that everything but the signalling goes through it:
connectivity checks, keys, media both ways. Delays are drawn for each packet, so packets overtake.
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from typing import Final, cast

from benchmarks.bottleneck import Bottleneck

Address = tuple[str, int]
LOOPBACK: Final = "127.0.0.1"
CANDIDATE: Final = re.compile(
    r"^(a=candidate:\S+ \d+ udp \d+ )(\d+\.\d+\.\d+\.\d+) (\d+)( typ host.*)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Sky:
    """What happens to packets: the default is fair weather."""

    loss: float = 0.0  # share
    jitter_s: float = 0.0  # spread of the delay of each packet
    reorder: float = 0.0  # share of packets that others overtake
    rate: float = 0.0  # bits a second towards the caller; 0 is no bound
    queue_s: float = 0.3  # of the narrow place
    dark: bool = False  # nothing comes through


LATE_S: Final = 0.06  # for a packet that others overtake


class Side(asyncio.DatagramProtocol):
    """One socket of the relay: what arrives goes out through ``other``, if the weather lets it."""

    def __init__(self, weather: Weather, far: Address | None = None) -> None:
        self._weather, self.far = weather, far
        self.other: Side | None = None
        self.down = False  # what arrives here goes to the caller
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.far is None:
            self.far = addr
        self._weather.pass_on(self, data)

    def send(self, data: bytes) -> None:
        """Towards the far end of this socket."""
        if self.transport is not None and self.far is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.far)


class Weather:
    """``async with Weather() as weather``; set ``sky`` at any time.

    ``route`` puts the relay into an answer. Loss and delay come from a seeded generator.
    """

    def __init__(self, seed: int = 1) -> None:
        self.passed = self.lost = 0
        self._sky = Sky()
        self._link = Bottleneck()
        self._rng = random.Random(seed)
        self._sides: list[Side] = []

    @property
    def sky(self) -> Sky:
        """The weather now."""
        return self._sky

    @sky.setter
    def sky(self, sky: Sky) -> None:
        self._sky = sky
        self._link.rate, self._link.queue_s = sky.rate, sky.queue_s

    async def __aenter__(self) -> Weather:
        return self

    async def __aexit__(self, *_: object) -> None:
        for side in self._sides:
            if side.transport is not None:
                side.transport.close()

    async def route(self, answer: str) -> str:
        """The answer with its first IPv4 candidate replaced by the relay, and without others.

        Raises ``ValueError`` for an answer without one.
        """
        lines = answer.splitlines()
        found = next((match for match in map(CANDIDATE.match, lines) if match), None)
        if found is None:
            raise ValueError("the answer has no IPv4 host candidate over UDP to stand in for")
        port = await self._relay((found[2], int(found[3])))
        stand_in = f"{found[1]}{LOOPBACK} {port}{found[4]}"
        out: list[str] = []
        for line in lines:
            if not line.startswith("a=candidate:"):
                out.append(line)
            elif not out[-1].startswith("a=candidate:"):
                out.append(stand_in)
        return "\r\n".join(out) + "\r\n"

    @staticmethod
    def hide(offer: str) -> str:
        """The offer without its candidates, so that the server finds no way around the relay."""
        lines = offer.splitlines()
        kept = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-cand"))]
        return "\r\n".join(kept) + "\r\n"

    def pass_on(self, side: Side, data: bytes) -> None:
        """What happens to a packet that arrived at ``side``."""
        if side.other is None:
            return
        loop = asyncio.get_running_loop()
        delay_s = self._delay_s(side, len(data), loop.time())
        if delay_s is None:
            self.lost += 1
            return
        self.passed += 1
        if delay_s > 0:
            loop.call_later(delay_s, side.other.send, data)
        else:
            side.other.send(data)

    def _delay_s(self, side: Side, size: int, now_s: float) -> float | None:
        """How long a packet takes; None when it is lost."""
        sky, rng = self._sky, self._rng
        if sky.dark or rng.random() < sky.loss:
            return None
        delay_s = abs(rng.gauss(0.0, sky.jitter_s)) if sky.jitter_s else 0.0
        delay_s += LATE_S * (rng.random() < sky.reorder)
        if side.down:
            passes_s = self._link.passes_s(size, now_s)
            return None if passes_s is None else delay_s + passes_s - now_s
        return delay_s

    async def _relay(self, server: Address) -> int:
        """Opens both sockets; returns the port that the caller talks to."""
        loop = asyncio.get_running_loop()
        near, far = Side(self), Side(self, server)
        far.down = True
        near.other, far.other = far, near
        local = "0.0.0.0" if server[0] != LOOPBACK else LOOPBACK
        await loop.create_datagram_endpoint(lambda: far, local_addr=(local, 0))
        await loop.create_datagram_endpoint(lambda: near, local_addr=(LOOPBACK, 0))
        self._sides += [near, far]
        assert near.transport is not None
        return int(near.transport.get_extra_info("sockname")[1])
