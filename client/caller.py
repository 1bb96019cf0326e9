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

from client.errors import BadKey, CallError, Refused, Unreachable, refusal
from client.ice import ice_servers, linked
from client.microphone import Microphone, Spoken
from client.moves import moved
from client.receive import Line, Picture, Sound
from server.rtc import aiortc_adapter

CONNECT_S: Final = 15.0
COME_BACK_S: Final = 30.0  # after a connection was lost; the session's grace may end it sooner
RETRY_S: Final = 3.0  # for each attempt: one that began in the dark finds its way too late
PAUSE_S: Final = 0.3
OVER: Final = ("session_ended", "consent_revoked", "registry_unavailable", "generation_failed")
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


def _unchanged(offer: str) -> str:
    return offer


class Caller:
    """``async with Caller(url, microphone) as call: await call.start("mira")``.

    ``key`` is an API key, for servers that ask for one. ``route`` may change the answer's SDP, to
    lead media through a relay, and ``hide`` the offer's. Callbacks run in the loop. Times are of
    the monotonic clock.
    A connection that is lost is made anew, to the same session, while the server keeps it. A
    session that moves to another worker is called again there.
    """

    def __init__(self, url: str, microphone: Microphone, key: str = "") -> None:
        self.url, self.microphone = url.rstrip("/"), microphone
        self.on_picture: Callable[[Picture], None] = lambda picture: None
        self.on_sound: Callable[[Sound], None] = lambda sound: None
        self.route: Callable[[str], Awaitable[str]] = _as_it_is
        self.hide: Callable[[str], str] = _unchanged
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.session = ""
        self.asked_s = self.connected_s = 0.0
        self.reconnects = self.moves = 0
        self.session_over = False
        self.ended: asyncio.Event = asyncio.Event()
        self.lines: dict[str, Line] = {}
        self._key, self._token = key, ""
        self._peer: RTCPeerConnection | None = None
        self._sender: RTCRtpSender | None = None
        self._origin: int | None = None
        self._returning: asyncio.Task[None] | None = None
        self._query: dict[str, str] = {}  # of the call
        self._resume = ""  # the token of a session that has moved
        self._following: asyncio.Task[None] | None = None
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
        self._query = {"avatar": avatar, **query}
        await self._connect("/v1/calls", self._query, CONNECT_S)
        self.connected_s = time.monotonic()

    async def _connect(self, path: str, params: dict[str, str], patience_s: float) -> None:
        """A fresh offer, and a connection. Raises ``Refused`` or ``Unreachable``."""
        peer = self._peer = RTCPeerConnection(await self._configuration())
        self._connected.clear()
        self._sender, self._origin = peer.addTrack(Spoken(self.microphone)), None
        peer.addTransceiver("video", "recvonly")
        channel = cast(Any, peer.createDataChannel("events"))
        channel.on("message", self._message)
        self._channel = channel
        peer.on("connectionstatechange", lambda: self._changed(peer))
        peer.on("track", lambda track: self._track(peer, track))
        await peer.setLocalDescription(await peer.createOffer())
        headers = {"Content-Type": "application/sdp", **self._auth}
        sdp = self.hide(peer.localDescription.sdp)
        self.asked_s = self.asked_s or time.monotonic()
        answer = await self._ask("POST", path, params=params, data=sdp, headers=headers)
        name = answer.headers["Location"].rsplit("/", 1)[-1]
        self.session = f"/v1/sessions/{name}"  # whatever folder a proxy serves it in
        self._token = answer.headers.get("Session-Token", self._token)
        self._follow(linked(answer.headers.getall("Link", []), "events"))
        answered = await self.route(answer.body)
        await peer.setRemoteDescription(RTCSessionDescription(answered, "answer"))
        try:
            await asyncio.wait_for(self._connected.wait(), patience_s)
        except TimeoutError:
            raise Unreachable(
                f"no media came through within {patience_s:.0f} s; a firewall may block UDP"
            ) from None

    async def _come_back(self) -> None:
        """The connection was lost: offers anew to the same session while the server keeps it."""
        ends_s = time.monotonic() + COME_BACK_S
        while time.monotonic() < ends_s:
            await self._drop_peer()
            try:
                await self._connect_again()
            except Refused as refusal:
                self._resume = refusal.resume or self._resume
                if refusal.status < 500 and not refusal.resume:
                    break  # the session has ended
            except Unreachable:
                await asyncio.sleep(PAUSE_S)
            else:
                self.reconnects += 1
                return
        self.ended.set()

    async def _connect_again(self) -> None:
        """To the same session, or, where that has moved, by a new call that goes on with it."""
        if not self._resume:
            await self._connect(f"{self.session}/call", {}, RETRY_S)
            return
        self._token = ""  # it is the old session's; whoever may call shows a key
        await self._connect("/v1/calls", {**self._query, "resume": self._resume}, RETRY_S)
        self._resume, self.moves = "", self.moves + 1

    def _follow(self, path: str) -> None:
        """Hears at the server whether the session moves, if it may."""
        if self._following is not None and self._following is not asyncio.current_task():
            self._following.cancel()
        if path:
            url = f"{self.url}{self.session}/events"
            self._following = asyncio.create_task(self._watch(url, self.session), name="events")

    async def _watch(self, url: str, session: str) -> None:
        self._moved(await moved(self._http, url, self._auth), session)

    def _moved(self, resume: str, session: str) -> None:
        """Calls again; told twice, it is done once."""
        if resume and session == self.session and not self._resume and not self.session_over:
            self._resume = resume
            self._connected.clear()
            self._lost()

    async def _drop_peer(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await aiortc_adapter.close(peer)
        for line in self.lines.values():
            await asyncio.to_thread(line.close)

    async def hang_up(self) -> None:
        """Ends the call on both sides; harmless twice."""
        helpers = [task for task in (self._returning, self._following) if task is not None]
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        over, self.session_over = self.session_over, True
        if self.session and not over:
            with contextlib.suppress(CallError):  # it may have ended already
                await self._ask("DELETE", self.session, headers=self._auth)
        await self._drop_peer()

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
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

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
        sender = cast(Any, self._sender)
        if self._origin is None and sender._RTCRtpSender__packet_count:
            self._origin = (sender._RTCRtpSender__rtp_timestamp - start) % WRAP  # as on the wire

    def _changed(self, peer: RTCPeerConnection) -> None:
        if peer is not self._peer:
            return
        if peer.connectionState == "connected":
            self._connected.set()
        elif peer.connectionState in ("failed", "closed") and self._connected.is_set():
            self._connected.clear()
            self._lost()

    def _lost(self) -> None:
        """The network was away for longer than a connection lives."""
        if self.session_over:
            self.ended.set()
        elif self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(self._come_back(), name="come back")

    def _track(self, peer: RTCPeerConnection, track: MediaStreamTrack) -> None:
        receiver = next(t.receiver for t in peer.getTransceivers() if t.kind == track.kind)
        deliver = self._picture if track.kind == "video" else self._sound
        before = self.lines.get(track.kind)
        clock = before.clock.restart() if before else None
        self.lines[track.kind] = Line(receiver, track.kind, deliver, clock)

    def _picture(self, picture: Picture) -> None:
        self.on_picture(picture)

    def _sound(self, sound: Sound) -> None:
        self.on_sound(sound)

    def _message(self, message: str) -> None:
        event: dict[str, Any] = json.loads(message)
        self.events.append((time.monotonic(), event))
        if event["type"] == "session_moved":
            self._moved(event["resume"], f"/v1/sessions/{event['session']}")
        if event["type"] == "error" and event["code"] in OVER:
            self.session_over = True
            self.ended.set()
