"""The aiortc adaptor: everything that reaches below aiortc's public surface is in this file.

Written against aiortc 1.16; ``check`` fails at start-up when another version no longer has what is
relied on here, rather than going on with half of it. What it puts right:

* *Sending.* aiortc pairs a report's RTP timestamp with the moment its packet was sent, for each
  track apart, and sends a picture's packets at once. ``PacedSender`` stands in its place.
* *Receive path.* aiortc's jitter buffer holds 80 ms and never gives a delay back after a loss, and
  its queue has no bound. ``listen`` puts a tap in its place: packets reach us as they come.
* *Key frames and bitrate.* Encoding is ours (``server/media/encoders.py``), so requests and
  estimates are passed on instead of being applied to aiortc's encoder.
* *Vanished peers.* ICE consent is asked for every second, so that no run of losses ends a call and
  a peer that is gone is noticed within ten seconds.
* *Orphans.* aiortc starts tasks that it does not await; when their connection closes, the
  failure surfaces as "exception was never retrieved", out of place and time. ``own_orphans``.
* *Payload types.* aiortc keeps an offered one only from 96 on; browsers also use 35 to 63.
* *No network.* aioice leaves loopback out; on a machine that has nothing else, it is what we offer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import aioice.ice
import aiortc
import aiortc.rtp
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
)
from aiortc.codecs import CODECS, HEADER_EXTENSIONS, get_capabilities, is_rtx
from aiortc.exceptions import InvalidStateError
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
)
from aiortc.rtp import (
    RtpPacket,
)

from server.rtc import sdp_codecs, transport_feedback, udp
from server.rtc.paced_sender import PacedSender, tell_arrivals

log = logging.getLogger(__name__)

AIORTC = Path(aiortc.__file__).parent
CLOSED = (ConnectionError, InvalidStateError)  # what a connection that is gone raises
CONSENT_INTERVAL_S = 0.5
CONSENT_FAILURES = 8  # with half a second for each answer: 7.2 to 8.8 s
UNHEARD_S = 9.5  # for so long nobody has answered, at most, when a connection is lost

PacketSink = Callable[[RTCRtpCodecParameters, int, int, bytes], None]
"""codec, sequence number, RTP timestamp, payload."""


def check() -> None:
    """Applies the process-wide settings. Raises ``RuntimeError`` if aiortc has changed inside."""
    for owner, name in (
        (RTCPeerConnection, "_RTCPeerConnection__createTransceiver"),
        (RTCRtpSender, "_next_encoded_frame"),
        (RTCRtpSender, "_send_keyframe"),
        (RTCRtpSender, "_run_rtp"),
        (RTCRtpSender, "_retransmit"),
        (RTCDtlsTransport, "_handle_rtcp_data"),
        (RTCDtlsTransport, "_handle_rtp_data"),
        (RTCDtlsTransport, "_send_rtp"),
        (aioice.ice, "CONSENT_INTERVAL"),
        (aioice.ice, "CONSENT_FAILURES"),
        (aioice.ice, "get_host_addresses"),
        (aioice.ice, "server_reflexive_candidate"),
        (aioice.ice.Connection, "get_component_candidates"),
        (aiortc.rtp, "DYNAMIC_PAYLOAD_TYPES"),
    ):
        if not hasattr(owner, name):
            raise RuntimeError(
                f"this aiortc has no {name}: server/rtc/aiortc_adapter.py is written for 1.16"
            )
    _offer_transport_feedback()
    setattr(aioice.ice, "CONSENT_INTERVAL", CONSENT_INTERVAL_S)  # noqa: B010
    setattr(aioice.ice, "CONSENT_FAILURES", CONSENT_FAILURES)  # noqa: B010
    setattr(aioice.ice, "get_host_addresses", host_addresses)  # noqa: B010
    setattr(aiortc.rtp, "DYNAMIC_PAYLOAD_TYPES", sdp_codecs.DYNAMIC)  # noqa: B010


def _offer_transport_feedback() -> None:
    """Negotiated from now on: numbers on packets, and feedback about them."""
    extension = RTCRtpHeaderExtensionParameters(id=4, uri=transport_feedback.URI)
    feedback = RTCRtcpFeedback(type="transport-cc")
    for kind, codecs in CODECS.items():
        if extension not in HEADER_EXTENSIONS[kind]:
            HEADER_EXTENSIONS[kind].append(extension)
        for codec in codecs:
            live = codec.mimeType == "audio/opus" or (kind == "video" and not is_rtx(codec))
            if live and feedback not in codec.rtcpFeedback:
                codec.rtcpFeedback.append(feedback)


_addresses = aioice.ice.get_host_addresses


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """This machine's addresses; loopback when there is no other."""
    return _addresses(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else [])


def own_orphans(loop: asyncio.AbstractEventLoop) -> None:
    """Ignores failures of aiortc's own tasks that are caused by a closed connection. All others
    go to the previous handler."""
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failure, task = context.get("exception"), context.get("future")
        if isinstance(failure, CLOSED) and _aiortcs(task):
            log.debug("%s after its connection had closed: %r", task, failure)
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


def _aiortcs(task: object) -> bool:
    code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
    return code is not None and Path(code.co_filename).is_relative_to(AIORTC)


class Peer(RTCPeerConnection):
    """A peer connection whose senders are ``PacedSender``."""

    def __init__(self, ice_servers: Sequence[RTCIceServer], bundled: bool) -> None:
        policy = RTCBundlePolicy.MAX_BUNDLE if bundled else RTCBundlePolicy.BALANCED
        super().__init__(RTCConfiguration(iceServers=list(ice_servers), bundlePolicy=policy))

    def use(self, network: udp.Network) -> None:
        """Gathers candidates as the operator says. Call before the answer is set."""
        if network == udp.ANY:
            return
        for transport in cast(Any, self)._RTCPeerConnection__iceTransports:
            connection = transport.iceGatherer._connection
            connection.get_component_candidates = partial(udp.gather, network, connection)

    def _RTCPeerConnection__createTransceiver(  # noqa: N802
        self, direction: str, kind: str, sender_track: Any = None
    ) -> RTCRtpTransceiver:
        create = cast(Any, RTCPeerConnection)._RTCPeerConnection__createTransceiver
        transceiver: Any = create(self, direction, kind, sender_track)
        sender: Any = PacedSender(kind, transceiver.receiver.transport)
        sender._stream_id = transceiver.sender._stream_id
        transceiver.receiver._set_rtcp_ssrc(sender._ssrc)
        transceiver._RTCRtpTransceiver__sender = sender
        return cast(RTCRtpTransceiver, transceiver)


class PacketTap(JitterBuffer):
    """Stands where aiortc keeps its jitter buffer, and passes every packet on at once."""

    def __init__(self, codecs: Callable[[int], RTCRtpCodecParameters | None], sink: PacketSink):
        super().__init__(capacity=1)
        self._codec_of = codecs
        self._sink = sink

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        codec = self._codec_of(packet.payload_type)
        if codec is not None:
            data: bytes = cast(Any, packet)._data
            self._sink(codec, packet.sequence_number, packet.timestamp, data)
        return False, None


def listen(receiver: RTCRtpReceiver, sink: PacketSink) -> None:
    """Sends the receiver's packets to ``sink``, in the loop, before any buffering or decoding."""
    inside = cast(Any, receiver)
    tell_arrivals(receiver.transport)
    known: dict[int, RTCRtpCodecParameters] = inside._RTCRtpReceiver__codecs
    inside._RTCRtpReceiver__jitter_buffer = PacketTap(known.get, sink)


def drop(codec: RTCRtpCodecParameters, sequence: int, timestamp: int, payload: bytes) -> None:
    """A ``PacketSink`` that drops packets."""


def ignore(receiver: RTCRtpReceiver) -> None:
    """Drops what the receiver gets, so that nothing piles up undecoded or unread."""
    listen(receiver, drop)


def prefer(transceiver: RTCRtpTransceiver, mimes: Sequence[str]) -> None:
    """Puts the codecs in ``mimes`` first, in that order; the others stay behind them."""
    capable = get_capabilities(transceiver.kind).codecs
    wanted = [mime.lower() for mime in mimes]

    def rank(mime: str) -> int:
        return wanted.index(mime.lower()) if mime.lower() in wanted else len(wanted)

    transceiver.setCodecPreferences(sorted(capable, key=lambda codec: rank(codec.mimeType)))


def _transport(peer: RTCPeerConnection, mid: str | None) -> RTCIceTransport | None:
    for transceiver in peer.getTransceivers():
        if transceiver.mid == mid:
            return transceiver.receiver.transport.transport
    channels = peer.sctp
    return channels.transport.transport if channels and channels.mid == mid else None


async def add_candidate(peer: RTCPeerConnection, mid: str, candidate: RTCIceCandidate) -> None:
    """A candidate of the other side, for the transport that section ``mid`` uses.

    aiortc's own looks for a section that is not bundled; any that shares the transport will do.
    """
    if (transport := _transport(peer, mid)) is not None:
        await transport.addRemoteCandidate(candidate)


async def end_candidates(peer: RTCPeerConnection, mid: str | None) -> None:
    """No more of them. Without a single one, its own checks may still show where a peer is."""
    transport = _transport(peer, mid)
    if transport is not None and transport.getRemoteCandidates():
        await transport.addRemoteCandidate(None)


def negotiated(transceiver: RTCRtpTransceiver) -> RTCRtpCodecParameters:
    """The codec that the answer settled on."""
    agreed: list[RTCRtpCodecParameters] = cast(Any, transceiver)._codecs
    return agreed[0]


async def close(peer: RTCPeerConnection, timeout_s: float = 5.0) -> None:
    """Closes a connection; one that does not close in time is reported, not waited for.

    The closing is its own task: cancelling the caller must not stop it half-way.
    """
    closing = asyncio.ensure_future(peer.close())
    closing.add_done_callback(_closed)
    _, pending = await asyncio.wait({closing}, timeout=timeout_s)
    if pending:
        log.warning("a peer connection did not close within %.0f s", timeout_s)


def _closed(closing: asyncio.Future[None]) -> None:
    if not closing.cancelled() and (failure := closing.exception()) is not None:
        log.warning("a peer connection closed with %r", failure)
