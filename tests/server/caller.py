"""A caller for tests: an aiortc peer on loopback that speaks, listens and reads the strip."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import numpy as np
from aiohttp import ClientResponse, ClientSession
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

RATE = 48_000
BLOCK = 960


class Microphone(MediaStreamTrack):
    """Speaks 20 ms blocks in real time; notes when each was sent."""

    kind = "audio"

    def __init__(self, speak: Callable[[int], NDArray[np.int16]]) -> None:
        super().__init__()
        self._speak = speak
        self._block = 0
        self._started = 0.0
        self.sent: dict[int, float] = {}

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        self._started = self._started or time.monotonic()
        await asyncio.sleep(self._started + self._block * 0.02 - time.monotonic())
        frame = AudioFrame.from_ndarray(self._speak(self._block)[None], "s16", "mono")
        frame.sample_rate, frame.pts = RATE, self._block * BLOCK
        frame.time_base = Fraction(1, RATE)
        self.sent[self._block * BLOCK] = time.monotonic()
        self._block += 1
        return frame


def silence(block: int) -> NDArray[np.int16]:
    return np.zeros(BLOCK, np.int16)


def tone(block: int) -> NDArray[np.int16]:
    at = np.arange(block * BLOCK, (block + 1) * BLOCK) / RATE
    return (8000 * np.sin(2 * np.pi * 300 * at)).astype(np.int16)


def voice(block: int) -> NDArray[np.int16]:
    """Something that a voice detector takes for speech: a buzz through moving formants."""
    at = np.arange(block * BLOCK, (block + 1) * BLOCK) / RATE
    formants = (600, 1200 + 5 * (block % 40), 2500)
    wave = np.zeros(BLOCK)
    for pitch in range(120, 3600, 120):
        loud = sum(np.exp(-(((pitch - formant) / 150) ** 2)) for formant in formants)
        wave += loud * np.sin(2 * np.pi * pitch * at)
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)
    return (wave * 3000 * syllables).clip(-30_000, 30_000).astype(np.int16)


class Caller:
    """One connection and everything that came over it."""

    def __init__(self) -> None:
        self.peer = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self.events: list[dict[str, Any]] = []
        self.pictures: list[tuple[float, VideoFrame]] = []
        self.sounds: list[tuple[float, AudioFrame]] = []
        self.session = self.token = self.location = ""
        self.channel: Any = None
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.peer.on("track", self._track)

    def speak(self, speak: Callable[[int], NDArray[np.int16]] = silence) -> Microphone:
        microphone = Microphone(speak)
        self.peer.addTrack(microphone)
        return microphone

    def watch(self) -> None:
        self.peer.addTransceiver("video", "recvonly")

    def open_channel(self) -> None:
        self.channel = self.peer.createDataChannel("events")
        self.channel.on("message", self._message)
        self.channel.on("open", self._changed.set)

    async def post(
        self, http: ClientSession, path: str, token: str = "", **query: str
    ) -> ClientResponse:
        """Offers; on 201 takes the answer and notes session, token and location."""
        await self.peer.setLocalDescription(await self.peer.createOffer())
        headers = {"Content-Type": "application/sdp"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        response = await http.post(
            path, data=self.peer.localDescription.sdp, headers=headers, params=query
        )
        body = await response.text()
        if response.status == 201:
            self.location = response.headers["Location"]
            self.session = "/".join(self.location.split("/")[:4])
            self.token = response.headers.get("Session-Token", token)
            await self.peer.setRemoteDescription(RTCSessionDescription(body, "answer"))
        return response

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def send(self, **message: object) -> None:
        self.channel.send(json.dumps(message))

    async def until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Waits until something that arrives makes ``condition`` true; returns it."""
        async with asyncio.timeout(timeout_s):
            while not (value := condition()):
                self._changed.clear()
                await self._changed.wait()
        return value

    async def event(self, kind: str, **fields: object) -> dict[str, Any]:
        """Waits for an event of a kind."""

        def find() -> dict[str, Any] | None:
            return next(
                (
                    e
                    for e in self.events
                    if e["type"] == kind and all(e.get(k) == v for k, v in fields.items())
                ),
                None,
            )

        return await self.until(find)

    async def close(self) -> None:
        await self.peer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _message(self, message: str) -> None:
        self.events.append(json.loads(message))
        self._changed.set()

    def _track(self, track: MediaStreamTrack) -> None:
        into: list[Any] = self.pictures if track.kind == "video" else self.sounds
        self._tasks.append(asyncio.create_task(self._drain(track, into)))

    async def _drain(self, track: MediaStreamTrack, into: list[Any]) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                into.append((time.monotonic(), frame))
                self._changed.set()


@contextlib.asynccontextmanager
async def calling(
    http: ClientSession,
    speak: Callable[[int], NDArray[np.int16]] = silence,
    **query: str,
) -> AsyncIterator[Caller]:
    """A connected call to mira."""
    caller = Caller()
    microphone = caller.speak(speak)
    caller.watch()
    caller.open_channel()
    caller.microphone = microphone  # type: ignore[attr-defined]
    try:
        response = await caller.post(http, "/v1/calls", **{"avatar": "mira", **query})
        assert response.status == 201, await response.text()
        yield caller
    finally:
        await caller.close()
