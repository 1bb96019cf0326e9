"""A small double of a LiveKit server on loopback, to which the real ``livekit`` wheel connects.

Signalling over a WebSocket (livekit-protocol), publishing and data over aiortc. Data packets go on
to whom they are for; what participants publish is announced, and tapped by a ``Peer`` each. It
grants everything to everybody and forwards no media: for measurements and tests alone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import jwt
from aiohttp import WSMsgType, web
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from livekit.protocol import models, rtc

from benchmarks.agents.peer import Peer

KINDS = {"standard": 0, "ingress": 1, "egress": 2, "sip": 3, "agent": 4}
PUBLISHER, SUBSCRIBER = rtc.SignalTarget.PUBLISHER, rtc.SignalTarget.SUBSCRIBER


class Member:
    """One participant: what it sends to (``publisher``) and what it receives from."""

    def __init__(self, room: LiveKitServer, socket: web.WebSocketResponse, token: str) -> None:
        self.claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        self.room, self._socket = room, socket
        self.info = models.ParticipantInfo(
            sid=f"PA_{room.number()}",
            identity=self.claims["sub"],
            name=self.claims.get("name", ""),
            state=models.ParticipantInfo.ACTIVE,
            kind=KINDS[self.claims.get("kind", "standard")],
            attributes=self.claims.get("attributes", {}),
            permission=models.ParticipantPermission(
                can_publish=True, can_subscribe=True, can_publish_data=True
            ),
        )
        self.peer = Peer()
        self.publisher = self.peer.connection
        self.publisher.on("datachannel", self._listen)
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self.subscriber = RTCPeerConnection(configuration)
        self._out = self.subscriber.createDataChannel("_reliable")
        self.subscriber.createDataChannel("_lossy", ordered=False, maxRetransmits=0)

    async def send(self, **fields: Any) -> None:
        """A message of the server."""
        if not self._socket.closed:
            await self._socket.send_bytes(rtc.SignalResponse(**fields).SerializeToString())

    async def join(self, others: list[Member]) -> None:
        """Tells it who is there, and offers what it receives from."""
        joined = rtc.JoinResponse(
            room=models.Room(sid="RM_1", name=self.claims["video"]["room"]),
            participant=self.info,
            other_participants=[other.info for other in others],
            server_version="1.9.0",
            server_info=models.ServerInfo(version="1.9.0", protocol=16),
            subscriber_primary=True,
            ping_timeout=60,
            ping_interval=30,
        )
        await self.send(join=joined)
        await self.subscriber.setLocalDescription(await self.subscriber.createOffer())
        sdp = self.subscriber.localDescription.sdp
        await self.send(offer=rtc.SessionDescription(type="offer", sdp=sdp))

    async def take(self, request: rtc.SignalRequest) -> None:
        """A message of the participant."""
        kind = request.WhichOneof("message")
        if kind == "offer":
            await self._answer(request.offer)
        elif kind == "answer":
            answer = RTCSessionDescription(request.answer.sdp, "answer")
            await self.subscriber.setRemoteDescription(answer)
        elif kind == "trickle":
            await self._trickle(request.trickle)
        elif kind == "add_track":
            await self._add(request.add_track)
        elif kind == "ping_req":
            pong = rtc.Pong(last_ping_timestamp=request.ping_req.timestamp)
            await self.send(pong_resp=pong)
        elif kind == "leave":
            await self._socket.close()

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        await self.publisher.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        await self.publisher.setLocalDescription(await self.publisher.createAnswer())
        answer = rtc.SessionDescription(
            type="answer", sdp=self.publisher.localDescription.sdp, id=offer.id
        )
        await self.send(answer=answer)

    async def _trickle(self, trickle: rtc.TrickleRequest) -> None:
        told = json.loads(trickle.candidateInit)
        line = told.get("candidate", "").removeprefix("candidate:")
        if line:
            candidate = candidate_from_sdp(line)
            candidate.sdpMid, candidate.sdpMLineIndex = told["sdpMid"], told["sdpMLineIndex"]
            target = self.publisher if trickle.target == PUBLISHER else self.subscriber
            await target.addIceCandidate(candidate)

    async def _add(self, asked: rtc.AddTrackRequest) -> None:
        track = models.TrackInfo(
            sid=f"TR_{self.room.number()}",
            name=asked.name,
            type=asked.type,
            source=asked.source,
            width=asked.width,
            height=asked.height,
            mime_type="video/VP8" if asked.type == models.TrackType.VIDEO else "audio/opus",
        )
        self.info.tracks.append(track)
        await self.send(track_published=rtc.TrackPublishedResponse(cid=asked.cid, track=track))
        await self.room.tell(self)

    def _listen(self, channel: Any) -> None:
        channel.on("message", lambda data: self.room.forward(self, channel.label, data))

    def deliver(self, packet: models.DataPacket) -> None:
        """A data packet of somebody else."""
        if self._out.readyState == "open":
            self._out.send(packet.SerializeToString())

    async def close(self) -> None:
        """It has left."""
        await self.peer.close()
        await self.subscriber.close()


class LiveKitServer:
    """``async with LiveKitServer() as server``: participants connect to ``server.url``."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.packets: list[tuple[str, str]] = []  # from whom, and what: in the order they came
        self._numbers = itertools.count(1)
        self.changed = asyncio.Event()

    def number(self) -> int:
        """Another one each time."""
        return next(self._numbers)

    async def __aenter__(self) -> LiveKitServer:
        app = web.Application()
        app.router.add_get("/rtc", self._connect)
        app.router.add_get("/rtc/validate", self._valid)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._runner.cleanup()

    async def _valid(self, request: web.Request) -> web.Response:
        return web.Response(text="success")

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        member = Member(self, socket, request.query.get("access_token") or shown)
        others = list(self.members.values())
        self.members[member.info.identity] = member
        await member.join(others)
        await self.tell(member)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await member.take(rtc.SignalRequest.FromString(message.data))
        member.info.state = models.ParticipantInfo.DISCONNECTED
        self.members.pop(member.info.identity, None)
        await self.tell(member)
        await member.close()
        return socket

    async def tell(self, about: Member) -> None:
        """Something changed about a participant."""
        update = rtc.ParticipantUpdate(participants=[about.info])
        for member in list(self.members.values()):
            if member is not about:
                await member.send(update=update)
        self.changed.set()

    def forward(self, sender: Member, label: str, data: bytes) -> None:
        """A data packet goes to whom it is for."""
        packet = models.DataPacket.FromString(data)
        packet.participant_identity = sender.info.identity
        packet.participant_sid = sender.info.sid
        self.packets.append((sender.info.identity, str(packet.WhichOneof("value"))))
        wanted = set(packet.destination_identities) or set(self.members)
        for member in list(self.members.values()):
            if member is not sender and member.info.identity in wanted:
                member.deliver(packet)
