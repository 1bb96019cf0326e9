"""The data channel as a target: messages over the connection of a call that goes on.

A caller of aiortc says what was drawn, then pings; what the server sent before the pong is its
answer. Everything that it sends must be JSON that a browser reads. After so many refusals it closes
the channel: the call must still stand then, its sound still come, and the next one is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final, NoReturn, Self

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack

from benchmarks.fuzz.http import ServerTarget
from benchmarks.fuzz.inputs import MESSAGES, SDP, WORDS

WAIT_S: Final = 20.0
MORE: Final = [
    b'{"type": "ping", "id": "\\ud800"}',
    b'{"type": "ping", "id": 1e999}',
    b'{"type": "prompt", "text": "\\udfff"}',
    b'{"type": "ping", "id": "' + b"x" * 64 + b'"}',
]


class Dead(Exception):
    """The call, or the server, did not outlive a message."""


class DataChannelTarget(ServerTarget):
    """Messages of a caller, one call after the other."""

    flags = ("--message-rate", "10000", "--message-burst", "100000")

    def __enter__(self) -> Self:
        super().__enter__()
        self._loop = asyncio.new_event_loop()
        self._peer: RTCPeerConnection | None = None
        self._pings = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._peer is not None:
            self._loop.run_until_complete(self._hang_up())
        self._loop.close()
        super().__exit__()

    def feed(self, data: bytes) -> str:
        """Says it; the first ``code`` that comes back, or "taken"."""
        return self._loop.run_until_complete(self._say(data))

    async def _say(self, data: bytes) -> str:
        if self._peer is None:
            await self._call()
        self._answers.clear()
        self._pings += 1
        mark = f"fuzz {self._pings}"
        self._channel.send(data if len(data) % 2 else data.decode("utf-8", "replace"))
        self._channel.send(json.dumps({"type": "ping", "id": mark}))
        await self._until(lambda: self._closed or mark in self._pongs(), f"no pong for {mark}")
        said = [event["code"] for event in self._answers if event["type"] == "error"]
        if self._closed:
            await self._still_there()
        return str(said[0]) if said else "taken"

    def _pongs(self) -> list[Any]:
        return [event.get("id") for event in self._answers if event["type"] == "pong"]

    async def _until(self, condition: Any, otherwise: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            await self._hang_up()
            raise Dead(otherwise) from None

    async def _call(self) -> None:
        self._answers: list[dict[str, Any]] = []
        self._news, self._closed, self._heard = asyncio.Event(), False, 0
        self._failure: Exception | None = None
        self._listening: list[asyncio.Task[None]] = []
        peer = self._peer = RTCPeerConnection()
        peer.addTrack(AudioStreamTrack())
        peer.addTransceiver("video", "recvonly")
        peer.on("track", self._listen)
        channel = self._channel = peer.createDataChannel("events")
        channel.on("message", self._message)
        channel.on("close", self._gone)
        await peer.setLocalDescription(await peer.createOffer())
        offer = peer.localDescription.sdp.encode()
        status, headers, body = self._ask("POST", "/v1/calls?avatar=mira", offer, SDP)
        if status != 201:
            await peer.close()
            self._peer = None
            raise Dead(f"{status} for a call: {body[:200]!r}")
        self._path, self._token = headers["Location"], headers["Session-Token"]
        await peer.setRemoteDescription(RTCSessionDescription(body.decode(), "answer"))
        await self._until(lambda: self._answers and self._heard, "no call came about")

    async def _still_there(self) -> None:
        """The channel was closed: the call goes on, until we end it."""
        heard = self._heard
        await self._until(lambda: self._heard > heard, "no sound after the channel was closed")
        status, _, body = self._ask("GET", self._path, b"", "")
        if status != 200 or json.loads(body)["state"] != "live":
            raise Dead(f"{status}: {body[:200]!r}")
        await self._hang_up()

    async def _hang_up(self) -> None:
        assert self._peer is not None
        self._ask("DELETE", self._path, b"", "")
        await self._peer.close()
        for listening in self._listening:
            listening.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        self._peer = None
        if self._failure is not None:
            raise self._failure

    def _message(self, message: str) -> None:
        try:
            self._answers.append(json.loads(message, parse_constant=_no_json))
        except ValueError as failure:
            self._failure = failure
            self._answers.append({"type": "error", "code": "not json"})
        self._news.set()

    def _gone(self) -> None:
        self._closed = True
        self._news.set()

    def _listen(self, track: MediaStreamTrack) -> None:
        self._listening.append(self._loop.create_task(self._drain(track)))

    async def _drain(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while await track.recv():
                self._heard += track.kind == "audio"
                self._news.set()


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


TARGET: Final = DataChannelTarget("channel", 2, [*MESSAGES, *MORE], "", "", WORDS)
