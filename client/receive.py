"""What comes back, as it comes: below aiortc's public surface, in this file alone.

aiortc's jitter buffers hold sound for 80 ms and every picture until the next one begins. A program
that measures needs packets at the moment they arrive, pictures whole at their marker bit, and the
sender reports that say what belongs together. Decoding runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import av
import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.codecs import get_decoder, is_rtx
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket
from numpy.typing import NDArray

from server.rtc.paced_sender import tell_arrivals

PATIENCE_S: Final = {"audio": 0.06, "video": 0.3}  # behind a hole, before it is given up
ASK_S: Final = 0.04  # between two requests for the same packets
MOST_WAITING: Final = 512  # packets behind a hole, whatever the time
BEHIND: Final = 100  # encoded pieces that may wait for the decoder before they are dropped
WRAP: Final = 1 << 32
NTP_UNIX_OFFSET_S: Final = 2_208_988_800


@dataclass(frozen=True, slots=True)
class Picture:
    """One video frame. Times are of the monotonic clock, ``rtp`` counts 90 kHz and never wraps."""

    rtp: int
    arrived_s: float
    decoded_s: float
    size: int
    frame: av.VideoFrame


@dataclass(frozen=True, slots=True)
class Sound:
    """One packet of sound at 48 kHz, mono. ``rtp`` never wraps."""

    rtp: int
    arrived_s: float
    size: int
    pcm: NDArray[np.int16]


Piece: TypeAlias = Picture | Sound


class SenderClock:
    """Which moment of the sender's wall clock an RTP timestamp stands for."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._anchor: tuple[float, int] | None = None
        self._last: int | None = None

    def restart(self) -> SenderClock:
        """The same sender, on another connection: its timestamps begin anew."""
        self._anchor = self._last = None
        return self

    def unwrap(self, rtp: int) -> int:
        """The timestamp without its wrap-around; packets may come in any order."""
        if self._last is None:
            self._last = rtp
        step = (rtp - self._last + WRAP // 2) % WRAP - WRAP // 2
        value = self._last + step
        self._last = max(self._last, value)
        return value

    def report(self, ntp: int, rtp: int) -> None:
        """A sender report pairs both (RFC 3550, section 6.4.1)."""
        self._anchor = (ntp / WRAP - NTP_UNIX_OFFSET_S, self.unwrap(rtp))

    def at(self, rtp: int) -> float | None:
        """Seconds of the sender's wall clock; None before the first report."""
        if self._anchor is None:
            return None
        seconds, anchor = self._anchor
        return seconds + (rtp - anchor) / self.rate


class Assembly(JitterBuffer):
    """Stands where aiortc keeps its jitter buffer; emits whole pieces, in order, at once."""

    def __init__(
        self,
        every_packet: bool,
        emit: Callable[[RtpPacket, bytes], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(capacity=1)
        self._every_packet = every_packet  # sound: each packet is whole
        self._emit, self._now = emit, now
        self._patience_s = PATIENCE_S["audio" if every_packet else "video"]
        self._next: int | None = None
        self._waiting: dict[int, RtpPacket] = {}
        self._came: dict[int, float] = {}  # when each of them came
        self._parts: list[bytes] = []
        self._hole_s: float | None = None  # since when something is missing
        self._asked_s = float("-inf")
        self.lost = 0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        number = packet.sequence_number
        if self._next is None:
            self._next = number
        if (number - self._next) % 65536 >= 32768:
            return False, None
        self._waiting[number] = packet
        self._came.setdefault(number, self._now())
        wants_key = self._release()
        while self._hopeless():
            wants_key = self._give_up() | self._release() | wants_key
        before, self._hole_s = self._hole_s, self._now() if self._waiting else None
        if before is not None and self._hole_s is not None:
            self._hole_s = before
        elif self._hole_s is not None:
            self._asked_s = self._hole_s
        return wants_key, None

    def _hopeless(self) -> bool:
        """Whether what comes behind the first hole has waited for too long; each by itself, so that
        many holes take no longer than one."""
        self._came = {number: at for number, at in self._came.items() if number in self._waiting}
        if not self._came:
            return False
        waited_s = self._now() - min(self._came.values())
        return waited_s > self._patience_s or len(self._waiting) > MOST_WAITING

    def missing(self) -> list[int]:
        """What is to be asked for again, not more often than makes sense."""
        if self._every_packet or self._hole_s is None or self._now() - self._asked_s < ASK_S:
            return []
        assert self._next is not None
        self._asked_s = self._now()
        newest = max((number - self._next) % 65536 for number in self._waiting)
        numbers = [(self._next + step) % 65536 for step in range(min(newest, 128))]
        return [number for number in numbers if number not in self._waiting]

    def _release(self) -> bool:
        """Emits what is whole; True when a fresh key picture is needed."""
        wants_key = False
        while self._next in self._waiting:
            packet = self._waiting.pop(self._next)
            self._next = (self._next + 1) % 65536
            self._parts.append(cast(Any, packet)._data)
            if self._every_packet or packet.marker:
                data, self._parts = b"".join(self._parts), []
                wants_key |= bool(data) and not self._emit(packet, data)
        return wants_key

    def _give_up(self) -> bool:
        """Goes on behind the hole, and behind the picture that it damages."""
        assert self._next is not None
        expected = self._next
        first = min(self._waiting, key=lambda number: (number - expected) % 65536)
        self.lost += (first - expected) % 65536
        self._next, self._parts = first, []
        while not self._every_packet and self._next in self._waiting:
            packet = self._waiting.pop(self._next)
            self._next = (self._next + 1) % 65536
            if packet.marker:
                break
        return not self._every_packet


class Line:
    """One receiver's pieces, decoded, in the loop."""

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        kind: str,
        deliver: Callable[[Any], None],
        clock: SenderClock | None = None,
    ) -> None:
        self.clock = clock or SenderClock(90_000 if kind == "video" else 48_000)
        self.dropped = 0
        self._kind, self._deliver = kind, deliver
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"decode-{kind}")
        self._decoder: Any = None
        self._waiting = 0
        inside = cast(Any, receiver)
        tell_arrivals(receiver.transport)  # as browsers do: the sender's estimate rests on it
        self._codecs: dict[int, RTCRtpCodecParameters] = inside._RTCRtpReceiver__codecs
        self.assembly = Assembly(kind == "audio", self._whole)
        inside._RTCRtpReceiver__jitter_buffer = self.assembly
        self._report_to, inside._handle_rtcp_packet = inside._handle_rtcp_packet, self._rtcp
        self._take, inside._handle_rtp_packet = inside._handle_rtp_packet, self._rtp
        self._ask = inside._send_rtcp_nack

    def close(self) -> None:
        """Ends the thread; what is not decoded yet is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """aiortc asks once for what is missing; the request or its answer may be lost as well."""
        await self._take(packet, arrival_time_ms=arrival_time_ms)
        codec = self._codecs.get(packet.payload_type)
        missing = self.assembly.missing() if codec is not None and not is_rtx(codec) else []
        if missing:
            await self._ask(packet.ssrc, missing)

    async def _rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            self.clock.report(packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp)
        await self._report_to(packet)

    def _whole(self, packet: RtpPacket, data: bytes) -> bool:
        if self._waiting >= BEHIND:
            self.dropped += 1
            return False
        self._waiting += 1
        codec, arrived_s = self._codecs[packet.payload_type], time.monotonic()
        rtp = self.clock.unwrap(packet.timestamp)
        self._thread.submit(self._decode, codec, rtp, arrived_s, data)
        return True

    def _decode(
        self, codec: RTCRtpCodecParameters, rtp: int, arrived_s: float, data: bytes
    ) -> None:
        self._decoder = self._decoder or get_decoder(codec)
        try:
            frames = self._decoder.decode(JitterFrame(data, rtp % WRAP))
        except (av.FFmpegError, ValueError):
            frames = []  # damaged by a loss; the key picture that was asked for mends it
        pieces = [self._piece(frame, rtp, arrived_s, len(data)) for frame in frames]
        self._loop.call_soon_threadsafe(self._decoded, pieces)

    def _piece(self, frame: Any, rtp: int, arrived_s: float, size: int) -> Piece:
        if self._kind == "video":
            return Picture(rtp, arrived_s, time.monotonic(), size, frame)
        samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)[:, 0]
        return Sound(rtp, arrived_s, size, samples.astype(np.int16))

    def _decoded(self, pieces: list[Piece]) -> None:
        self._waiting -= 1
        for piece in pieces:
            self._deliver(piece)
