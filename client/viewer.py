"""One viewer of a session from a program: pictures and sound by WHEP, each with when it left.

Both carry one time: Unix seconds on the clock of the server's sender reports (RFC 3550, section
6.4.1). Sound and picture of one time belong together, and an event's ``sent_at`` is that time too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin

import av
import numpy as np
from aiohttp import ClientError, ClientSession
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from numpy.typing import NDArray

from client.errors import Unreachable, refusal
from client.ice import ice_servers
from client.receive import Line, Picture, Sound

CONNECT_S: Final = 15.0
RATE: Final = 48_000
KINDS: Final = ("audio", "video")


class Viewer:
    """``async with Viewer(url, whep, token) as viewer``: connected, and its clocks are known.

    ``on_picture`` and ``on_sound`` get when a piece left, and the piece: a frame, or 48 kHz mono.
    Raises ``Refused`` or ``Unreachable``.
    """

    def __init__(self, url: str, whep: str, token: str) -> None:
        self.on_picture: Callable[[float, av.VideoFrame], None] = lambda sent_at, picture: None
        self.on_sound: Callable[[float, NDArray[np.int16]], None] = lambda sent_at, pcm: None
        self.ended = asyncio.Event()  # the connection is gone
        self._whep = urljoin(url.rstrip("/") + "/", whep)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lines: dict[str, Line] = {}
        self._clocks_known = asyncio.Event()

    async def __aenter__(self) -> Viewer:
        try:
            async with ClientSession(headers=self._headers) as http, asyncio.timeout(CONNECT_S):
                self._peer = RTCPeerConnection(await self._configuration(http))
                await self._connect(http)
                await self._clocks_known.wait()
        except TimeoutError:
            await self._leave()
            said = f"no media came through within {CONNECT_S:.0f} s; a firewall may block UDP"
            raise Unreachable(said) from None
        except (ClientError, OSError) as failure:
            await self._leave()
            raise Unreachable(f"nobody answers at {self._whep}: {failure}") from failure
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._leave()

    async def _configuration(self, http: ClientSession) -> RTCConfiguration:
        async with http.options(self._whep) as response:
            links = response.headers.getall("Link", [])
        servers = [RTCIceServer(**fields) for fields in ice_servers(links)]
        return RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)

    async def _connect(self, http: ClientSession) -> None:
        peer = self._peer
        for kind in KINDS:
            peer.addTransceiver(kind, "recvonly")
        peer.on("track", self._track)
        peer.on("connectionstatechange", self._changed)
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Content-Type": "application/sdp"}
        async with http.post(self._whep, data=peer.localDescription.sdp, headers=headers) as answer:
            body = await answer.text()
            if answer.status >= 300:
                raise refusal(answer.status, body, answer.headers.get("Retry-After"))
        await peer.setRemoteDescription(RTCSessionDescription(body, "answer"))

    async def _leave(self) -> None:
        self.ended.set()
        if (peer := getattr(self, "_peer", None)) is not None:
            await peer.close()
        for line in self._lines.values():
            await asyncio.to_thread(line.close)

    def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.ended.set()

    def _track(self, track: MediaStreamTrack) -> None:
        receiver = next(t.receiver for t in self._peer.getTransceivers() if t.kind == track.kind)
        deliver = self._picture if track.kind == "video" else self._sound
        self._lines[track.kind] = Line(receiver, track.kind, deliver)

    def _sent_at(self, kind: str, rtp: int) -> float | None:
        times: list[Any] = [line.clock.at(rtp) for line in self._lines.values()]
        if len(times) == len(KINDS) and None not in times:
            self._clocks_known.set()
        return self._lines[kind].clock.at(rtp)

    def _picture(self, picture: Picture) -> None:
        if (sent_at := self._sent_at("video", picture.rtp)) is not None:
            self.on_picture(sent_at, picture.frame)

    def _sound(self, sound: Sound) -> None:
        if (sent_at := self._sent_at("audio", sound.rtp)) is not None:
            self.on_sound(sent_at, sound.pcm)
