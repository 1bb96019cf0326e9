"""Checks of the network: ports, TLS, STUN and TURN servers, configured services."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from aioice import stun, turn
from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri

from server.api import tls
from server.auth.access import is_loopback
from server.cli.checks.finding import Finding, fail, note, ok
from server.rtc.ice import servers
from server.settings import Settings

TRIES_S: Final = 3.0
SERVICES: Final = ("voice_url", "chat_url", "transcribe_url")


def port(settings: Settings) -> Iterator[Finding]:
    """Whether the server could listen, and for whom."""
    place = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, settings.port))
            yield ok("port", f"{place} is free")
        except OSError as failure:
            advice = "fine if this server runs; otherwise choose another with --port"
            yield note("port", f"{place}: {failure.strerror}", advice)
    if not (is_loopback(settings.host) or settings.tls_cert or settings.public_url):
        advice = "browsers allow a microphone on https only: set tls_cert, or use a proxy"
        yield note("tls", "plain http for others than this machine", advice)
    elif tls.context(settings):  # raises where the certificate cannot be used
        yield ok("tls", f"certificate {settings.tls_cert} is valid")


def udp(settings: Settings) -> Iterator[Finding]:
    """Ports for media, and what clients are told."""
    bounds = settings.udp_range()
    if bounds is None:
        yield ok("udp", "any free port; open UDP in the firewall, or set udp_ports")
    else:
        free = sum(map(_is_free, range(bounds[0], bounds[1] + 1)))
        total = bounds[1] - bounds[0] + 1
        text = f"{free} of {total} ports free in {settings.udp_ports}"
        yield ok("udp", text) if free else fail("udp", text, "choose another range")
    if settings.udp_announced:
        yield ok("udp", f"clients are told {', '.join(settings.udp_announced)}")


def _is_free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(("", number))
        except OSError:
            return False
    return True


def relays(settings: Settings) -> Iterator[Finding]:
    """Each STUN and TURN server answers; a TURN server with our credentials."""
    if not settings.ice_servers:
        loopback = is_loopback(settings.host)
        advice = "" if loopback else "clients behind strict firewalls cannot connect without TURN"
        text = "no STUN or TURN server (ice_servers)"
        yield ok("turn", text) if loopback else note("turn", text, advice)
    for server in servers(settings, "doctor", time.time()):
        try:
            began = time.monotonic()
            _reach(server)
            yield ok("turn", f"{server.urls} answers in {(time.monotonic() - began) * 1e3:.0f} ms")
        except TimeoutError:
            yield fail("turn", f"{server.urls} does not answer", "is it up, and its port open?")
        except stun.TransactionFailed as failure:
            advice = "check turn_secret, or turn_user and turn_password, and both clocks"
            yield fail("turn", f"{server.urls} refuses: {failure}", advice)
        except (OSError, ConnectionError) as failure:
            yield fail("turn", f"{server.urls} cannot be reached: {failure}")


def _reach(server: RTCIceServer) -> None:
    """A TURN allocation, or a STUN binding. Raises when there is none."""
    found = parse_stun_turn_uri(str(server.urls))
    address = (found["host"], found["port"])
    if found["scheme"] == "stun":
        _bind(address)
    else:
        over, wrapped = found.get("transport") or "udp", found["scheme"] == "turns"
        asyncio.run(asyncio.wait_for(_allocate(address, server, over, wrapped), TRIES_S))


def _bind(address: tuple[str, int]) -> None:
    """RFC 8489, section 6: a binding request."""
    family, kind, _, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as asking:
        asking.settimeout(TRIES_S / 3)
        asking.connect(place)
        for _ in range(3):
            asking.send(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)))
            with suppress(TimeoutError):
                stun.parse_message(asking.recv(2048))
                return
    raise TimeoutError


class _Ended(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def _allocate(
    address: tuple[str, int], server: RTCIceServer, over: str, wrapped: bool
) -> None:
    """RFC 8656, section 7: an allocation, which is given back."""
    transport, ended = await turn.create_turn_endpoint(
        _Ended, server_addr=address, username=server.username,
        password=server.credential, ssl=wrapped, transport=over,
    )  # fmt: skip
    transport.close()
    await ended.lost.wait()


def services(settings: Settings) -> Iterator[Finding]:
    """Whether the configured services can be connected to; nothing is asked of them."""
    for name in SERVICES:
        url = urlsplit(getattr(settings, name))
        if not url.hostname:
            continue
        place = (url.hostname, url.port or (443 if url.scheme == "https" else 80))
        try:
            socket.create_connection(place, TRIES_S).close()
            yield ok("services", f"{name}: {url.hostname} can be reached")
        except OSError as failure:
            yield fail("services", f"{name}: {url.hostname} cannot be reached: {failure}")
