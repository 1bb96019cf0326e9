"""Pictures and sound to packets. Owns the codecs' settings.

One encoder serves every viewer whose settings agree. The bitrate changes rarely, because
each change of a VP8 or H.264 context costs a key frame (``server/media/rungs.py``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Packet: TypeAlias = "av.Packet[Any]"

VIDEO_CLOCK = 90_000
AUDIO_CLOCK = 48_000
AUDIO_BITRATE = 32_000  # a voice; more would be taken from pictures where there is little room
AUDIO_TIGHT = 16_000  # a voice where there is next to none
HUSHED = 100  # nothing louder than this is a pause
TIGHT = 250_000  # bits a second below which any quality is better than a picture left out
HARDWARE_H264 = ("h264_nvenc", "h264_vaapi", "h264_v4l2m2m")


@dataclass(frozen=True, slots=True)
class Bitrates:
    """Bounds of the video bitrate, bits per second."""

    start: int = 1_000_000
    least: int = 40_000
    most: int = 3_000_000

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.start <= self.most:
            raise ValueError(
                f"bitrates must satisfy 0 < least {self.least} <= start {self.start}"
                f" <= most {self.most}"
            )


class VideoEncoder:
    """yuv420p pictures to VP8 or H.264 packets. Not thread-safe: one call at a time."""

    def __init__(self, mime: str, bitrate: int, rate: Fraction) -> None:
        self.mime = mime
        self.bitrate = bitrate
        self.rate = rate  # frames a second
        self._codec: VideoCodecContext | None = None
        self._shape = (0, 0, 0)
        self._pts = -1  # must grow, also when the playout delay has just shrunk

    def encode(self, picture: av.VideoFrame, timestamp: int, key: bool) -> Packet | None:
        """One packet, stamped in 90 kHz units; None when the codec holds it back."""
        shape = (picture.width, picture.height, self.bitrate)
        if self._codec is None or shape != self._shape:
            self._codec, self._shape = open_video(self.mime, *shape, self.rate), shape
        self._pts = max(self._pts + 1, int(timestamp * self.rate / VIDEO_CLOCK))
        picture.pts = self._pts
        picture.time_base = 1 / self.rate
        picture.pict_type = PictureType.I if key else PictureType.NONE
        packets = self._codec.encode(picture)
        data = b"".join(bytes(packet) for packet in packets)
        made = stamped(data, timestamp, VIDEO_CLOCK) if data else None
        if made is not None:
            made.is_keyframe = any(packet.is_keyframe for packet in packets)
        return made


class AudioEncoder:
    """20 ms blocks of 48 kHz mono to Opus packets.

    Opus looks ahead: what a packet carries begins ``lead`` samples before the block that completed
    it, so a block must be taken that much later in the sound to be heard on its timestamp.
    ``bitrate`` may be set at any time, and counts from the next pause of the voice on: a fresh
    codec in the middle of it is heard, as loud as a lost packet.
    """

    def __init__(self, bitrate: int = AUDIO_BITRATE) -> None:
        self.bitrate = bitrate
        self._hushed = True  # the last block was a pause
        self._open()

    def _open(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.bit_rate = self._opened_at = self.bitrate
        codec.format, codec.layout, codec.sample_rate = "s16", "mono", AUDIO_CLOCK
        codec.time_base = Fraction(1, AUDIO_CLOCK)
        codec.options = {"application": "voip", "frame_duration": "20"}
        codec.open()
        self._codec = codec
        self.lead = _pre_skip(codec.extradata)

    def encode(self, pcm: NDArray[np.int16], timestamp: int) -> Packet | None:
        """One packet, stamped in 48 kHz units."""
        paused, self._hushed = self._hushed, not np.any(np.abs(pcm) > HUSHED)
        if self.bitrate != self._opened_at and paused and self._hushed:
            self._open()
        data = b"".join(bytes(packet) for packet in self._codec.encode(sound(pcm, timestamp)))
        return stamped(data, timestamp, AUDIO_CLOCK) if data else None


def _pre_skip(header: bytes | None) -> int:
    """The encoder's delay in 48 kHz samples, of its identification header (RFC 7845, 5.1)."""
    if header is None or not header.startswith(b"OpusHead"):
        raise ValueError(f"the Opus encoder names no delay: its header is {header!r}")
    return int.from_bytes(header[10:12], "little")


def sound(pcm: NDArray[np.int16], timestamp: int) -> av.AudioFrame:
    """A block of 48 kHz mono as PyAV's frame."""
    frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = AUDIO_CLOCK, timestamp
    frame.time_base = Fraction(1, AUDIO_CLOCK)
    return frame


def stamped(data: bytes, timestamp: int, clock: int) -> Packet:
    """A packet that carries ``data`` at ``timestamp``."""
    packet: Packet = av.Packet(data)
    packet.pts, packet.time_base = timestamp, Fraction(1, clock)
    return packet


class Converter:
    """RGB to yuv420p, one picture after the other on one thread.

    Kept between pictures, and kept to one thread: a fresh scaler starts and ends a pool of threads
    for each picture, which takes longer than the work.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, image: NDArray[np.uint8], scale: float = 1.0) -> av.VideoFrame:
        """(H, W, 3) to a picture that is smaller by ``scale``; sides are kept even."""
        return self.scaled(av.VideoFrame.from_ndarray(image, format="rgb24"), scale)

    def scaled(self, frame: av.VideoFrame, scale: float) -> av.VideoFrame:
        """A picture that is smaller by ``scale``, in yuv420p."""
        width, height = (int(side * scale) // 2 * 2 for side in (frame.width, frame.height))
        return self._reformatter.reformat(frame, width, height, "yuv420p", threads=1)


def open_video(
    mime: str, width: int, height: int, bitrate: int, rate: Fraction
) -> VideoCodecContext:
    """A codec context for live video: no look-ahead, no reordering."""
    name = "libvpx" if mime == "video/VP8" else h264_encoder()[0]
    codec = av.CodecContext.create(name, "w")
    assert isinstance(codec, VideoCodecContext)
    codec.width, codec.height, codec.bit_rate = width, height, bitrate
    codec.pix_fmt, codec.gop_size = "yuv420p", 3000
    codec.framerate, codec.time_base = rate, 1 / rate
    codec.options = _vp8(bitrate) if name == "libvpx" else _h264(name, bitrate)
    codec.thread_count = 1 if width * height <= 640 * 640 else 2
    if name == "libvpx":
        codec.qmin, codec.qmax = 4, 54 if bitrate >= TIGHT else 63
    else:
        codec.profile = "Baseline" if name == "libx264" else None
    return codec


def _vp8(bitrate: int) -> dict[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "-7",
        "lag-in-frames": "0",
        "error-resilient": "0",
        "static-thresh": "1",
        "maxrate": str(bitrate),
        "minrate": str(bitrate),
        "bufsize": str(bitrate * 6 // 10),
        "undershoot-pct": "100",
        "max-intra-rate": "600",  # a key frame is at most six pictures' share
        "overshoot-pct": "15",
    }


def _h264(name: str, bitrate: int) -> dict[str, str]:
    if name == "libx264":
        rates = {"maxrate": str(bitrate), "bufsize": str(bitrate // 2)}
        return {"preset": "veryfast", "tune": "zerolatency", "level": "31", **rates}
    return {"zerolatency": "1", "delay": "0"} if name == "h264_nvenc" else {}


@lru_cache(maxsize=1)
def h264_encoder() -> tuple[str, str]:
    """The H.264 encoder that works here, and why it was chosen; probed once."""
    reasons = []
    for name in HARDWARE_H264:
        reason = _probe(name)
        if reason is None:
            return name, f"{name} encoded a test picture"
        reasons.append(f"{name}: {reason}")
    return "libx264", "software; " + "; ".join(reasons)


def _probe(name: str) -> str | None:
    """None when ``name`` encodes a picture, otherwise the reason why not."""
    try:
        with av.logging.Capture():
            return _try(name)
    except (av.FFmpegError, ValueError, OSError) as failure:
        return str(failure).splitlines()[0].partition(";")[0]


def _try(name: str) -> str | None:
    codec = av.CodecContext.create(name, "w")
    assert isinstance(codec, VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = 256, 256, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25)
    picture = Converter()(np.zeros((256, 256, 3), np.uint8))
    picture.pts = 0
    data = [*codec.encode(picture), *codec.encode(None)]
    return None if data else "no packet came out"
