"""One call from a program: speaks a microphone track, and hands on all that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

from aiohttp import ClientError, ClientSession
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from multidict import CIMultiDictProxy

from client.errors import BadKey, CallError, Unreachable, refusal
from client.ice import ice_servers
from client.microphone import Microphone
from client.receive import Line, Picture, Sound
from server.rtc import aiortc_adapter

CONNECT_S: Final = 15.0
OVER: Final = ("session_ended", "consent_revoked", "generation_failed")
WRAP: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a request that it granted."""

    headers: CIMultiDictProxy[str]
    body: str


def read_key(path: Path | None) -> str:
    """The API key in a file; empty without one. Raises ``BadKey``."""
    try:
        return path.expanduser().read_text("utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as failure:
        raise BadKey(f"cannot read the key in {path}: {failure}") from failure


async def _as_it_is(answer: str) -> str:
    return answer


class Caller:
    """``async with Caller(url, microphone) as call: await call.start("mira")``.

    ``key`` is an API key, for servers that ask for one. ``route`` may change the answer's SDP, to
    lead media through a relay. Callbacks run in the loop. Times are of the monotonic clock.
    """

    def __init__(self, url: str, microphone: Microphone, key: str = "") -> None:
        self.url, self.microphone = url.rstrip("/"), microphone
        self.on_picture: Callable[[Picture], None] = lambda picture: None
        self.on_sound: Callable[[Sound], None] = lambda sound: None
        self.route: Callable[[str], Awaitable[str]] = _as_it_is
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.session = ""
        self.asked_s = self.connected_s = 0.0
        self.ended: asyncio.Event = asyncio.Event()
        self.lines: dict[str, Line] = {}
        self._key, self._token = key, ""
        self._peer: RTCPeerConnection | None = None
        self._sender: RTCRtpSender | None = None
        self._origin: int | None = None
        microphone.on_sent = self._sent
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Caller:
        aiortc_adapter.check()
        shown = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = ClientSession(headers=shown)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.hang_up()
        await self._http.close()

    async def start(self, avatar: str, **query: str) -> None:
        """Calls, and returns when connected. Raises ``Refused`` or ``Unreachable``."""
        peer = self._peer = RTCPeerConnection(await self._configuration())
        self._sender = peer.addTrack(self.microphone)
        peer.addTransceiver("video", "recvonly")
        channel = cast(Any, peer.createDataChannel("events"))
        channel.on("message", self._message)
        self._channel = channel
        peer.on("connectionstatechange", self._changed)
        peer.on("track", self._track)
        await peer.setLocalDescription(await peer.createOffer())
        self.asked_s = time.monotonic()
        params = {"avatar": avatar, **query}
        headers = {"Content-Type": "application/sdp"}
        sdp = peer.localDescription.sdp
        answer = await self._ask("POST", "/v1/calls", params=params, data=sdp, headers=headers)
        self.session, self._token = answer.headers["Location"], answer.headers["Session-Token"]
        answered = await self.route(answer.body)
        await peer.setRemoteDescription(RTCSessionDescription(answered, "answer"))
        try:
            await asyncio.wait_for(self._connected.wait(), CONNECT_S)
        except TimeoutError:
            raise Unreachable(
                f"no media came through within {CONNECT_S:.0f} s; a firewall may block UDP"
            ) from None

    async def hang_up(self) -> None:
        """Ends the call on both sides; harmless twice."""
        peer, self._peer = self._peer, None
        if peer is None:
            return
        if self.session:
            with contextlib.suppress(CallError):  # it may have ended already
                await self._ask("DELETE", self.session, headers=self._auth)
        await aiortc_adapter.close(peer)
        for line in self.lines.values():
            await asyncio.to_thread(line.close)

    def say(self, **message: object) -> None:
        """Sends an event (docs/protocol.md, section 6)."""
        self._channel.send(json.dumps(message))

    async def describe(self) -> dict[str, Any]:
        """The session as the server sees it."""
        answer = await self._ask("GET", self.session, headers=self._auth)
        return cast(dict[str, Any], json.loads(answer.body))

    def sample_of(self, rtp_timestamp: int) -> int | None:
        """Which sample of the microphone left with this timestamp; None before the second block."""
        if self._origin is None:
            return None
        sample = (rtp_timestamp - self._origin) % WRAP
        return sample - WRAP if sample > WRAP // 2 else sample

    @property
    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    async def _configuration(self) -> RTCConfiguration:
        answer = await self._ask("OPTIONS", "/v1/calls")
        servers = [
            RTCIceServer(**fields) for fields in ice_servers(answer.headers.getall("Link", []))
        ]
        return RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)

    async def _ask(self, method: str, path: str, **options: Any) -> Answer:
        try:
            async with self._http.request(method, self.url + path, **options) as response:
                body = await response.text()
        except (ClientError, OSError, TimeoutError) as failure:
            raise Unreachable(f"nobody answers at {self.url}: {failure}") from failure
        except ValueError as failure:
            raise Unreachable(f"{self.url} is no URL of a server") from failure
        if response.status >= 300:
            raise refusal(response.status, body, response.headers.get("Retry-After"))
        return Answer(response.headers, body)

    def _sent(self, start: int) -> None:
        """A block that began with sample ``start`` has left: its timestamp tells the origin."""
        if self._origin is None:
            sent = cast(Any, self._sender)._RTCRtpSender__rtp_timestamp  # as on the wire
            self._origin = (sent - start) % WRAP

    def _changed(self) -> None:
        state = self._peer.connectionState if self._peer else "closed"
        if state == "connected" and not self._connected.is_set():
            self.connected_s = time.monotonic()
            self._connected.set()
        elif state in ("failed", "closed"):
            self.ended.set()

    def _track(self, track: MediaStreamTrack) -> None:
        assert self._peer is not None
        receiver = next(t.receiver for t in self._peer.getTransceivers() if t.kind == track.kind)
        deliver = self._picture if track.kind == "video" else self._sound
        self.lines[track.kind] = Line(receiver, track.kind, deliver)

    def _picture(self, picture: Picture) -> None:
        self.on_picture(picture)

    def _sound(self, sound: Sound) -> None:
        self.on_sound(sound)

    def _message(self, message: str) -> None:
        event: dict[str, Any] = json.loads(message)
        self.events.append((time.monotonic(), event))
        if event["type"] == "error" and event["code"] in OVER:
            self.ended.set()
