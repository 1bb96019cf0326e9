"""Ports and addresses for media, as an operator says; real calls through them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from server.rtc.udp import Network, of
from server.settings import Settings, SettingsError, load
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.caller import calling, tone
from tests.server.conftest import serving
from tests.server.rtc.client_offers import CALLS
from tests.server.rtc.sdp_checker import read

SDP = {"Content-Type": "application/sdp"}


@contextlib.contextmanager
def free_range(size: int) -> Iterator[tuple[int, int]]:
    """Ports in a row that nobody on this machine has: each was bound just now."""
    for first in range(42_000, 60_000, size):
        with contextlib.ExitStack() as tried, contextlib.suppress(OSError):
            for port in range(first, first + size):
                one = tried.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                one.bind(("127.0.0.1", port))
            tried.close()
            yield first, first + size - 1
            return
    pytest.skip("no ports in a row are free")


def candidates(answer: str) -> list[tuple[str, int]]:
    """Address and port of each host candidate."""
    lines = {value for section in read(answer).media for value in section.values("candidate")}
    return sorted((line.split()[4], int(line.split()[5])) for line in lines if " host" in line)


def fixed(settings: Settings, first: int, last: int) -> Settings:
    return replace(settings, udp_ports=f"{first}-{last}", udp_bind=("127.0.0.1",))


async def test_a_call_runs_through_the_ports_and_the_address_that_were_set(
    settings: Settings,
) -> None:
    with free_range(4) as (first, last):
        chosen = fixed(settings, first, last)
        async with (
            serving(chosen, FakePipeline(), FakeSource()) as served,
            calling(served.http, tone) as caller,
        ):
            await caller.until(lambda: len(caller.pictures) > 5)
            found = candidates(caller.peer.remoteDescription.sdp)
    assert [address for address, _ in found] == ["127.0.0.1"]
    assert all(first <= port <= last for _, port in found)


async def test_when_every_port_is_taken_a_call_is_503_and_later_it_is_not(
    settings: Settings,
) -> None:
    with free_range(1) as (first, last):
        chosen = fixed(settings, first, last)
        async with serving(chosen, FakePipeline(), FakeSource()) as served:
            post = served.http.post
            one = await post("/v1/calls?avatar=mira", data=CALLS["chrome"](), headers=SDP)
            assert one.status == 201 and candidates(await one.text()) == [("127.0.0.1", first)]
            two = await post("/v1/calls?avatar=mira", data=CALLS["safari"](), headers=SDP)
            problem = await two.json(content_type="application/problem+json")
            assert (two.status, problem["type"]) == (503, "/problems/no-udp-port")
            assert problem["retryable"] and two.headers["Retry-After"]
            assert len(served.manager.sessions) == 1, "nothing is left of the refused one"
            auth = {"Authorization": f"Bearer {one.headers['Session-Token']}"}
            assert (await served.http.delete(one.headers["Location"], headers=auth)).status == 200
            three = await post("/v1/calls?avatar=mira", data=CALLS["firefox"](), headers=SDP)
            assert three.status == 201, "its port is free again"


async def test_a_peer_that_needs_two_ports_and_gets_one_gives_it_back(settings: Settings) -> None:
    with free_range(1) as (first, last):
        chosen = fixed(settings, first, last)
        async with serving(chosen, FakePipeline(), FakeSource()) as served:
            for name, status in (("werift, unbundled", 503), ("werift", 201)):
                answer = await served.http.post(
                    "/v1/calls?avatar=mira", data=CALLS[name](), headers=SDP
                )
                assert answer.status == status, name


async def test_clients_are_told_the_announced_address_and_the_port_behind_it(
    settings: Settings,
) -> None:
    with free_range(4) as (first, last):
        chosen = replace(
            fixed(settings, first, last), udp_announced=("203.0.113.7", "198.51.100.1")
        )
        async with serving(chosen, FakePipeline(), FakeSource()) as served:
            answer = await served.http.post(
                "/v1/calls?avatar=mira", data=CALLS["chrome"](), headers=SDP
            )
            text = await answer.text()
    found = candidates(text)
    assert [address for address, _ in found] == ["198.51.100.1", "203.0.113.7"]
    assert len({port for _, port in found}) == 1 and "127.0.0.1" not in text


async def test_a_peer_that_calls_us_behind_nat_is_answered(settings: Settings) -> None:
    """The announced address leads nowhere here; the caller's checks come by the real one."""
    with free_range(4) as (first, last):
        chosen = replace(fixed(settings, first, last), udp_announced=("127.0.0.2",))
        async with (
            serving(chosen, FakePipeline(), FakeSource()) as served,
            calling(served.http, tone) as caller,
        ):
            assert candidates(caller.peer.remoteDescription.sdp)[0][0] == "127.0.0.2"
            await caller.until(lambda: len(caller.pictures) > 5)


def test_every_port_of_a_range_is_tried_once() -> None:
    tried = list(Network(ports=(5000, 5009)).numbers())
    assert sorted(tried) == list(range(5000, 5010))
    assert list(Network().numbers()) == [0]


def test_an_address_is_announced_in_place_of_its_own_kind() -> None:
    network = Network(announced=("203.0.113.7",))
    assert network.shown("10.0.0.4") == ["203.0.113.7"]
    assert network.shown("2001:db8::4") == ["2001:db8::4"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--udp-ports", "40000"], "40000-40100"),
        (["--udp-ports", "40100-40000"], "'40100-40000'"),
        (["--udp-ports", "0-70000"], "'0-70000'"),
        (["--udp-bind", "0.0.0.0"], "udp_bind .*one by one"),
        (["--udp-bind", "eth0"], "udp_bind .*'eth0'"),
        (["--udp-announced", "example.net"], "udp_announced .*example.net"),
        (["--udp-bind", "127.0.0.1", "--udp-announced", "2001:db8::1"], "no IPv6 address"),
    ],
)
def test_what_cannot_be_used_is_named(flags: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(flags, {})


def test_an_address_of_another_machine_is_named_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"203\.0\.113\.7 is none.*udp_announced"):
        of(Settings(udp_bind=("203.0.113.7",)))
