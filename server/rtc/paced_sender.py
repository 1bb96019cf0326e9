"""An RTP sender with pacing and congestion control, below aiortc's public surface.

aiortc sends all packets of a frame at once, without transport-wide sequence numbers, retransmits
whatever is requested, and pairs a report's timestamp with the moment of sending. This sender
passes packets through a ``SendPath``, which the senders of one transport share, and takes both
halves of a report from one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from aiortc import RTCRtpSender, clock as wall
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtcrtpsender import RTCEncodedFrame, random_sequence_number
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_rtcp_packet,
    unpack_remb_fci,
    wrap_rtx,
)
from aiortc.utils import random32, uint32_add

from server.rtc import transport_feedback
from server.rtc.retransmission import History
from server.rtc.send_path import WIRE, Leaving, SendPath

log = logging.getLogger(__name__)


class ReportClock(Protocol):
    """What ``PacedSender`` asks of a session's clock."""

    def ntp(self, elapsed_s: float) -> int:
        """NTP timestamp of the moment ``elapsed_s`` after the epoch."""


class PacedSender(RTCRtpSender):
    """A sender whose reports say when its media is due, and whose packets leave by a path."""

    def __init__(self, kind: str, transport: Any) -> None:
        self.clock: ReportClock | None = None
        self.on_key_request: Callable[[], None] = lambda: None
        self.on_path: Callable[[SendPath], None] = lambda path: None
        self._last_s = 0.0  # when what was sent last is due, seconds since the epoch
        self._sent_ntp = 0
        self._path: SendPath | None = None
        self._pacing: asyncio.Task[None] | None = None
        self._history: History[RtpPacket] = History()
        self._sequence = random_sequence_number()
        self._rtx_sequence = random_sequence_number()
        self._numbered = False
        super().__init__(kind, transport)

    @property
    def _RTCRtpSender__ntp_timestamp(self) -> int:  # noqa: N802
        """Read by aiortc for each sender report, beside the RTP timestamp sent last."""
        return self.clock.ntp(self._last_s) if self.clock else self._sent_ntp

    @_RTCRtpSender__ntp_timestamp.setter
    def _RTCRtpSender__ntp_timestamp(self, sent: int) -> None:  # noqa: N802
        self._sent_ntp = sent

    # -- life --------------------------------------------------------------------------------

    async def send(self, parameters: RTCRtpSendParameters) -> None:
        if self._path is None:
            self._path = path_of(cast(Any, self.transport))
            self._numbered = any(
                extension.uri == transport_feedback.URI for extension in parameters.headerExtensions
            )
            if self.kind == "video":
                self._path.padding = self._padding
                name = f"pacing-{self._ssrc:08x}"
                self._pacing = asyncio.create_task(self._pace(self._path), name=name)
            self.on_path(self._path)
        await super().send(parameters)

    async def stop(self) -> None:
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.gather(self._pacing, return_exceptions=True)
        await super().stop()

    async def _pace(self, path: SendPath) -> None:
        with contextlib.suppress(ConnectionError):  # the transport has closed
            await path.run()

    # -- out ---------------------------------------------------------------------------------

    async def _run_rtp(self, codec: RTCRtpCodecParameters) -> None:
        inside = cast(Any, self)
        inside._RTCRtpSender__rtp_started.set()
        origin = random32()
        try:
            while True:
                if cast(Any, self).track is None:
                    await asyncio.sleep(0.02)
                elif (encoded := await self._next_encoded_frame(codec)) is not None:
                    stamp = uint32_add(origin, encoded.timestamp)
                    inside._RTCRtpSender__rtp_timestamp = stamp
                    await self._put(self._packets(codec, encoded, stamp))
        except (asyncio.CancelledError, ConnectionError, MediaStreamError):
            pass
        except Exception:
            log.exception("a %s sender failed", self.kind)
        finally:
            if self.track is not None:
                self.track.stop()
            inside._RTCRtpSender__rtp_exited.set()

    def _packets(
        self, codec: RTCRtpCodecParameters, encoded: RTCEncodedFrame, stamp: int
    ) -> list[RtpPacket]:
        packets, payload_type = [], cast(int, codec.payloadType)
        for payload in encoded.payloads:
            packet = RtpPacket(payload_type, 0, 0, stamp, self._ssrc, payload)
            packet.extensions.mid = cast(Any, self)._RTCRtpSender__mid
            if encoded.audio_level is not None:
                packet.extensions.audio_level = (False, -encoded.audio_level)
            packets.append(packet)
        packets[-1].marker = 1
        return packets

    async def _put(self, packets: Sequence[RtpPacket]) -> None:
        assert self._path is not None
        leaving = [self._leaving(packet, self._first) for packet in packets]
        if self.kind == "audio":
            for one in leaving:
                await self._path.sound(one)
        elif not self._path.picture(leaving, key := getattr(self.track, "key", True)):
            self.on_key_request()
        elif key:
            self._history.settle()

    def _leaving(self, packet: RtpPacket, send: Callable[..., Any]) -> Leaving:
        size = len(packet.payload) + 32 + WIRE
        return Leaving(lambda number: send(packet, number), size, self._numbered)

    async def _first(self, packet: RtpPacket, number: int) -> None:
        """Numbered when it leaves: what the pacer drops leaves no hole."""
        packet.sequence_number, self._sequence = self._sequence, (self._sequence + 1) % 65536
        inside = cast(Any, self)
        inside._RTCRtpSender__octet_count += len(packet.payload)
        inside._RTCRtpSender__packet_count += 1
        if self.kind == "video":
            size = len(packet.payload) + WIRE
            self._history.add(packet.sequence_number, packet, size, time.monotonic())
        await self._on_wire(packet, number)

    async def _on_wire(self, packet: RtpPacket, number: int) -> None:
        packet.extensions.abs_send_time = (wall.current_ntp_time() >> 14) & 0x00FFFFFF
        packet.extensions.transport_sequence_number = number if self._numbered else None
        extensions = cast(Any, self)._RTCRtpSender__rtp_header_extensions_map
        await cast(Any, self.transport)._send_rtp(packet.serialize(extensions))

    async def _repeat(self, packet: RtpPacket, number: int) -> None:
        payload_type = cast(Any, self)._RTCRtpSender__rtx_payload_type
        if payload_type is not None:
            packet = wrap_rtx(packet, payload_type, self._rtx_sequence, self._rtx_ssrc)
            self._rtx_sequence = (self._rtx_sequence + 1) % 65536
        await self._on_wire(packet, number)

    def _padding(self, count: int) -> list[Leaving]:
        """Packets that tell nothing new; none where they could not be told from new ones."""
        if cast(Any, self)._RTCRtpSender__rtx_payload_type is None or not self._numbered:
            return []
        return [self._leaving(packet, self._repeat) for packet in self._history.largest(count)]

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        encoded = await super()._next_encoded_frame(codec)
        if encoded is not None:
            self._last_s = encoded.timestamp / codec.clockRate
        return encoded

    # -- back --------------------------------------------------------------------------------

    async def _retransmit(self, sequence_number: int) -> None:
        if self._path is None:
            return
        rtt_s = cast(Any, self)._RTCRtpSender__rtt or 0.05
        rate, now = self._path.bandwidth.bitrate, time.monotonic()
        packet = self._history.again(sequence_number, rate, rtt_s, now)
        if packet is not None:
            self._path.repeat(self._leaving(packet, self._repeat))

    def _send_keyframe(self) -> None:
        self.on_key_request()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        await super()._handle_rtcp_packet(packet)
        if self._path is None:
            return
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                bitrate, ssrcs = unpack_remb_fci(packet.fci)
            except (ValueError, struct.error):
                return
            if self._ssrc in ssrcs:
                self._path.remb(bitrate)
        elif isinstance(packet, RtcpRrPacket | RtcpSrPacket) and self.kind == "video":
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    self._path.report(report.fraction_lost / 256)


def path_of(transport: Any) -> SendPath:
    """The path over a transport; made when it is asked for first."""
    path: SendPath | None = getattr(transport, "_continuum_path", None)
    if path is None:
        path = transport._continuum_path = SendPath()
        take = transport._handle_rtcp_data

        async def handle(data: bytes) -> None:
            for fci in transport_feedback.messages(data):
                path.feedback(fci)
            await take(data)

        transport._handle_rtcp_data = handle
    return path


def tell_arrivals(transport: Any) -> None:
    """Gives the other side transport-wide feedback about every numbered packet; harmless twice."""
    if getattr(transport, "_continuum_arrivals", None) is not None:
        return
    arrivals = transport._continuum_arrivals = transport_feedback.ArrivalLog()
    take = transport._handle_rtp_data

    async def handle(data: bytes, arrival_time_ms: int) -> None:
        now_s = time.monotonic()
        await take(data, arrival_time_ms=arrival_time_ms)
        try:
            packet = RtpPacket.parse(data, transport._rtp_header_extensions_map)
        except (ValueError, struct.error):
            return
        number = packet.extensions.transport_sequence_number
        fci = arrivals.add(number, now_s) if number is not None else None
        if fci is not None:
            body = struct.pack("!LL", 1, packet.ssrc) + fci
            with contextlib.suppress(ConnectionError):
                rtcp = pack_rtcp_packet(RTCP_RTPFB, transport_feedback.FORMAT, body)
                await transport._send_rtp(rtcp)

    transport._handle_rtp_data = handle
