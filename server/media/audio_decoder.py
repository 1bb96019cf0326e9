"""Speech packets of the negotiated codec to 48 kHz mono. One instance for each source."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from pipeline.media.downmix import Downmix

log = logging.getLogger(__name__)

RATE = 48_000
FULL = 32_768  # full scale


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of speech and the position at which it arrived (48 kHz samples)."""

    codec: RTCRtpCodecParameters
    sequence: int
    timestamp: int
    payload: bytes
    arrived: int


class SpeechDecoder:
    """Decodes one source; a damaged packet is dropped and counted, the decoder's state stays."""

    def __init__(self) -> None:
        self._name = ""
        self._decoder: Any = None
        self._resampler: av.AudioResampler | None = None
        self._downmix = Downmix(RATE)
        self.damaged = 0

    def batch(self, packets: list[Packet]) -> list[NDArray[np.int16] | None]:
        """Each packet as by itself; whatever one of them raises, the others are decoded."""
        return [self._safely(packet) for packet in packets]

    def _safely(self, packet: Packet) -> NDArray[np.int16] | None:
        try:
            return self(packet)
        except Exception:
            self.damaged += 1
            log.exception("a %s packet was dropped", packet.codec.name)
            return None

    def __call__(self, packet: Packet) -> NDArray[np.int16] | None:
        """48 kHz mono int16, or None when the packet cannot be decoded."""
        if packet.codec.name != self._name:
            self._open(packet.codec)
        try:
            frames = self._decoder.decode(JitterFrame(packet.payload, packet.timestamp))
        except (av.FFmpegError, ValueError) as failure:
            self.damaged += 1
            log.debug("a %s packet cannot be decoded: %s", packet.codec.name, failure)
            return None
        pieces = [self._mono(frame) for whole in frames for frame in self._at_48k(whole)]
        return np.concatenate(pieces) if pieces else None

    def _open(self, codec: RTCRtpCodecParameters) -> None:
        self._name = codec.name
        self._decoder = get_decoder(codec)
        self._resampler = None

    def _at_48k(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        if frame.sample_rate == RATE:
            return [frame]
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frame.pts = None
        return self._resampler.resample(frame)

    def _mono(self, frame: av.AudioFrame) -> NDArray[np.int16]:
        """A packed s16 frame of any number of channels as one channel."""
        samples = frame.to_ndarray().astype(np.int16, copy=False)
        channels = samples.reshape(-1, frame.layout.nb_channels)
        if channels.shape[1] == 1:
            return channels[:, 0]
        mixed = self._downmix((channels / FULL).astype(np.float32))
        whole: NDArray[np.int16] = np.rint(mixed * FULL).clip(-FULL, FULL - 1).astype(np.int16)
        return whole
