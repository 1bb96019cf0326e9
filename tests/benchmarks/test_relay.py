"""The relay that stands for a bad network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.bottleneck import Bottleneck
from benchmarks.relay import Sky, Weather

ANSWER = (
    "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\n"
    "a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"
    "a=candidate:2 1 udp 2130706175 fd00::1 5004 typ host\r\n"
    "a=end-of-candidates\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\n"
    "a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"
)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]


class Ear(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.put_nowait(data)


@asynccontextmanager
async def through(weather: Weather) -> AsyncIterator[tuple[str, asyncio.DatagramTransport, Ear]]:
    """The routed answer, and a socket that talks to an echo behind it."""
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    async with weather:
        answer = await weather.route(ANSWER.format(port=echo.get_extra_info("sockname")[1]))
        port = int(answer.split("127.0.0.1 ")[1].split()[0])
        near, ear = await loop.create_datagram_endpoint(Ear, remote_addr=("127.0.0.1", port))
        yield answer, near, ear
    for transport in (near, echo):
        transport.close()
    await asyncio.sleep(0)


async def test_in_fair_weather_everything_comes_back_in_order() -> None:
    weather = Weather()
    async with through(weather) as (answer, near, ear):
        assert answer.count("a=candidate:") == 2 and "fd00::1" not in answer
        for i in range(50):
            near.sendto(bytes([i]))
        assert [await ear.heard.get() for _ in range(50)] == [bytes([i]) for i in range(50)]
    assert (weather.passed, weather.lost) == (100, 0)


async def test_loss_takes_its_share_and_jitter_changes_the_order() -> None:
    weather = Weather(seed=3)
    weather.sky = Sky(loss=0.2, jitter_s=0.005)
    async with through(weather) as (_, near, ear):
        for i in range(200):
            near.sendto(bytes([i]))
        heard = [await ear.heard.get() for _ in range(80)]
    assert heard != sorted(heard)
    assert 0.1 < weather.lost / (weather.lost + weather.passed) < 0.3


def test_an_offer_names_no_way_around_the_relay() -> None:
    hidden = Weather.hide(ANSWER.format(port=5))
    assert "candidate" not in hidden and hidden.count("m=") == 2


async def test_an_answer_without_a_candidate_to_stand_in_for_is_refused() -> None:
    with pytest.raises(ValueError, match="no IPv4 host candidate"):
        await Weather().route("v=0\r\n")


class TestBottleneck:
    def test_it_passes_what_its_rate_allows_and_drops_what_its_queue_cannot_hold(
        self,
    ) -> None:
        link = Bottleneck(rate=100_000, queue_s=0.2)
        passed = [link.passes_s(1222, 0.0) for _ in range(6)]  # 10 kbit each
        assert passed[:3] == pytest.approx([0.1, 0.2, 0.3]) and passed[3:] == [None] * 3
        assert link.dropped == 3 and link.passes_s(1222, 1.0) == pytest.approx(1.1)

    def test_without_a_rate_it_is_not_there(self) -> None:
        assert Bottleneck().passes_s(1500, 3.0) == 3.0


async def test_in_the_dark_nothing_comes_through_and_afterwards_everything_does() -> None:
    weather = Weather()
    async with through(weather) as (_, near, ear):
        weather.sky = Sky(dark=True)
        for side in list(weather._sides):
            weather.pass_on(side, b"unseen")
        assert (weather.passed, weather.lost) == (0, 2)
        weather.sky = Sky()
        near.sendto(b"again")
        assert await ear.heard.get() == b"again"
