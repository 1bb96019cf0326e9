"""Peers that mean harm, each with a bound, beside one whose call must go on.

A round: a caller who sends garbage as RTP, RTCP and SCTP through a connection that stands, and
bytes from elsewhere to the same port; offers with lines missing, doubled or spoilt; a flood of
candidates; requests that are half sent. Afterwards the server answers, the other call still shows
new pictures, and no slot, thread or file of the server is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from google_crc32c import value as crc32c

from benchmarks import process
from benchmarks.fuzz.inputs import LINES, OFFER, SDP, TRICKLE
from benchmarks.live import server
from client.caller import Caller
from client.microphone import RATE, Microphone

SLOTS: Final = 6
PACKETS: Final = 200  # of garbage, of each kind
OFFERS: Final = 20
FRAGMENTS: Final = 20
CANDIDATES: Final = 200  # in each fragment
HALVES: Final = 32  # requests that stay half sent
PATIENCE_S: Final = 30.0
POOLS: Final = 4  # files and threads that a pool may have made later than others
FRAGMENT: Final = "application/trickle-ice-sdpfrag"


def run(rounds: int, seed: int) -> dict[str, int]:
    """Counts of what was sent and of what was left. Raises where the server does not answer."""
    return asyncio.run(_run(rounds, random.Random(seed)))


async def _run(rounds: int, rng: random.Random) -> dict[str, int]:
    counts = Counter(rounds=rounds)
    command = ("-m", "tests.serve_fake", "--slots", str(SLOTS))
    nowhere = str(Path(tempfile.gettempdir()) / f"none-{secrets.token_hex(4)}.sqlite")
    async with (
        server(*command, TICK_S="0", CONTINUUM_KEYS=nowhere) as (url, pid),
        aiohttp.ClientSession(url) as http,
    ):
        async with _witness(url):
            await _garbage(http, rng, 1)  # what a server makes once is made now
        await _free(http)
        before = process.footprint(pid)
        for _ in range(rounds):
            async with _witness(url) as goes_on:
                for attack in (_garbage, _offers, _halves):
                    counts[attack.__name__.strip("_")] += await attack(http, rng, PACKETS)
                    await goes_on()
            counts["slots"] += await _free(http)
        return dict(counts) | await _grown(pid, before)


@contextlib.asynccontextmanager
async def _witness(url: str) -> AsyncIterator[Callable[[], Any]]:
    """A call; gives what waits for a new picture of it, and raises ``TimeoutError``."""
    speech = (8_000 * np.sin(np.arange(RATE) * 0.04)).astype(np.int16)
    async with Caller(url, Microphone(speech, repeat=True)) as call:
        new = asyncio.Event()
        call.on_picture = lambda picture: new.set()
        await call.start("mira")

        async def goes_on() -> None:
            new.clear()
            await asyncio.wait_for(new.wait(), PATIENCE_S)

        await goes_on()
        yield goes_on


# -- attacks ---------------------------------------------------------------------------------


async def _garbage(http: aiohttp.ClientSession, rng: random.Random, packets: int) -> int:
    """Through a connection that stands, to its port from elsewhere, and as candidates."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    up = asyncio.Event()
    channel = cast(Any, peer.createDataChannel("events"))
    channel.on("open", up.set)
    peer.addTrack(AudioStreamTrack())
    peer.addTransceiver("video", "recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    place, token, answer = await _offer(http, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    try:
        await asyncio.wait_for(up.wait(), PATIENCE_S)
        sctp = cast(Any, peer.sctp)
        for _ in range(packets):
            for send, data in (
                (sctp.transport._send_rtp, _rtp(rng)),
                (sctp.transport._send_rtp, _rtcp(rng)),
                (sctp.transport._send_data, _sctp(rng, sctp._remote_verification_tag)),
            ):
                with contextlib.suppress(Exception):  # what our own side will not encrypt
                    await send(data)
        _from_elsewhere(answer, rng, packets)
        await _trickle(http, place, token)
    finally:
        await peer.close()
        await _end(http, place, token)
    return 4 * packets


def _rtp(rng: random.Random) -> bytes:
    """A header with wild flags, types, times and lengths, and anything behind it."""
    first = 0x80 | rng.getrandbits(6)
    second = rng.choice((0, 9, 96, 97, 111, 127)) | rng.getrandbits(1) << 7
    return bytes([first, second]) + rng.randbytes(10 + rng.randrange(1200))


def _rtcp(rng: random.Random) -> bytes:
    """Reports and feedback of every type whose lengths may lie."""
    words = rng.randrange(40)
    told = rng.choice((words, rng.getrandbits(16)))
    head = bytes([0x80 | rng.getrandbits(5), rng.randrange(200, 208)]) + told.to_bytes(2, "big")
    return head + rng.randbytes(4 * words)


def _sctp(rng: random.Random, tag: int) -> bytes:
    """A packet with a right tag and checksum, and chunks that no association expects."""
    head = (5000).to_bytes(2, "big") * 2 + tag.to_bytes(4, "big")
    body = b""
    for _ in range(rng.randrange(1, 4)):
        data = rng.randbytes(4 * rng.randrange(64))
        length = rng.choice((len(data) + 4, rng.getrandbits(16)))
        kind = rng.choice((0, 1, 3, 4, 6, 9, 10, 11, 14, 130, 192, 255))
        body += bytes([kind, rng.getrandbits(8)]) + length.to_bytes(2, "big") + data
    check = crc32c(head + bytes(4) + body).to_bytes(4, "little")
    return head + check + body


def _from_elsewhere(answer: str, rng: random.Random, packets: int) -> None:
    """STUN, DTLS and RTP of somebody who is not the peer."""
    lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    ports = {int(words[5]) for words in lines if words[4].startswith("127.") or ":" not in words[4]}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        for _ in range(packets):
            first = rng.choice((0, 1, 20, 22, 63, 128, 144, 200, 255))
            data = bytes([first]) + rng.randbytes(rng.randrange(1400))
            for port in ports:
                line.sendto(data, ("127.0.0.1", port))


async def _trickle(http: aiohttp.ClientSession, place: str, token: str) -> None:
    """Fragments full of candidates that lead nowhere."""
    more = "".join(
        f"a=candidate:{n} 1 udp {n} 127.0.0.1 {1024 + n} typ host\r\n" for n in range(CANDIDATES)
    )
    headers = {"Content-Type": FRAGMENT, "Authorization": f"Bearer {token}"}

    async def one() -> None:
        async with http.patch(place, data=TRICKLE + more, headers=headers) as answer:
            _not_a_fault(answer.status)

    await asyncio.gather(*(one() for _ in range(FRAGMENTS)))


async def _offers(http: aiohttp.ClientSession, rng: random.Random, _: int) -> int:
    """Offers with lines missing, doubled, moved or spoilt."""
    for _ in range(OFFERS):
        lines = OFFER.encode().splitlines(keepends=True)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(lines))
            wild = rng.choice((b"", lines[at] * 2, rng.choice(LINES), rng.choice(lines)))
            lines[at] = wild
        headers = {"Content-Type": SDP}
        body = b"".join(lines)
        async with http.post("/v1/calls?avatar=mira", data=body, headers=headers) as answer:
            _not_a_fault(answer.status)
            place = answer.headers.get("Location", "")
            token = answer.headers.get("Session-Token", "")
        if place:
            await _end(http, place, token)
    return OFFERS


async def _halves(http: aiohttp.ClientSession, rng: random.Random, _: int) -> int:
    """Requests that end in the middle of their head or body; others are answered meanwhile."""
    url = http._base_url
    assert url is not None
    whole = (
        f"POST /v1/calls?avatar=mira HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
        f"Content-Type: {SDP}\r\nContent-Length: 5000\r\n\r\n{OFFER}"
    ).encode()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(HALVES):
            _, writer = await asyncio.open_connection(url.host, url.port)
            stack.callback(writer.close)
            writer.write(whole[: rng.randrange(1, len(whole) - 1)])
            await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            assert (await _health(http))["status"] == "ok"
    return HALVES


# -- afterwards ------------------------------------------------------------------------------


async def _offer(http: aiohttp.ClientSession, sdp: str) -> tuple[str, str, str]:
    headers = {"Content-Type": SDP}
    async with http.post("/v1/calls?avatar=mira", data=sdp, headers=headers) as answer:
        body = await answer.text()
        assert answer.status == 201, body
        return answer.headers["Location"], answer.headers["Session-Token"], body


async def _end(http: aiohttp.ClientSession, place: str, token: str) -> None:
    auth = {"Authorization": f"Bearer {token}"}
    async with http.delete(place, headers=auth) as answer:
        _not_a_fault(answer.status)


def _not_a_fault(status: int) -> None:
    assert status < 500 or status == 503, f"the server answered with {status}"


async def _health(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/healthz") as answer:
        return cast(dict[str, Any], await answer.json())


async def _free(http: aiohttp.ClientSession) -> int:
    """Waits until no slot is taken; how many still are when patience ends."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while (await _health(http))["slots"]["taken"]:  # noqa: ASYNC110  another process's
                await asyncio.sleep(0.1)
    return int((await _health(http))["slots"]["taken"])


async def _grown(pid: int, before: process.Footprint) -> dict[str, int]:
    """Threads and files of the server that were not there before; 0 where a pool explains them."""
    grown = {"threads": 0, "files": 0}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                now = process.footprint(pid)
                grown = {"threads": now.threads - before.threads, "files": now.files - before.files}
                if max(grown.values()) <= POOLS:
                    return {"threads": 0, "files": 0}
                await asyncio.sleep(0.5)
    return grown
