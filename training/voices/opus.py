"""Speech through Opus and back, as a call carries it, and in its old place in time."""

from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from training.voices.clips import SAMPLE_RATE
from training.voices.spoken import to_16k

_DECODED_RATE = 48_000  # what the decoder gives, whatever went in
_FRAME = SAMPLE_RATE // 50


def through_opus(audio: NDArray[np.float32], bitrate: int) -> NDArray[np.float32]:
    """Encode and decode (N,) at 16 kHz.

    The decoder knows the encoder's delay from its header and drops it, so nothing moves.
    """
    if not 6_000 <= bitrate <= 128_000:
        raise ValueError(f"Opus speaks at 6000 to 128000 bit/s here, not at {bitrate}")
    if len(audio) == 0:
        return audio
    encoder = _context("w")
    encoder.bit_rate = bitrate
    encoder.options = {"application": "voip", "frame_duration": "20", "compression_level": "4"}
    encoder.open()
    decoder = _context("r")
    decoder.extradata = encoder.extradata
    padded = np.pad(audio, (0, 3 * _FRAME - len(audio) % _FRAME))  # room for the delay
    pcm = np.rint(np.clip(padded, -1, 1) * 32767).astype(np.int16)
    decoded = [
        frame.to_ndarray()[0]
        for packet in _encode(encoder, pcm)
        for frame in decoder.decode(packet)
    ]
    sound = np.concatenate(decoded)
    sound = (sound / (32768 if sound.dtype == np.int16 else 1)).astype(np.float32)
    return to_16k(sound, _DECODED_RATE)[: len(audio)]


def _context(mode: Literal["r", "w"]) -> AudioCodecContext:
    context = av.CodecContext.create("libopus", mode)
    context.sample_rate = SAMPLE_RATE if mode == "w" else _DECODED_RATE
    context.layout = "mono"
    context.format = "s16"
    return context


def _encode(encoder: AudioCodecContext, pcm: NDArray[np.int16]) -> "list[av.Packet[Any]]":
    packets = []
    for at in range(0, len(pcm) - len(pcm) % _FRAME, _FRAME):
        frame = av.AudioFrame.from_ndarray(pcm[None, at : at + _FRAME], "s16", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, at
        frame.time_base = Fraction(1, SAMPLE_RATE)
        packets += encoder.encode(frame)
    return [*packets, *encoder.encode(None)]
