"""Packets to speech: what a decoder makes of each codec's channels."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from server.media.audio_decoder import Packet, SpeechDecoder
from tests.server.caller import BLOCK, voice

OPUS = RTCRtpCodecParameters("audio/opus", 48_000, 2, 96)


def stereo_packets(right: float, blocks: int = 50) -> list[bytes]:
    """Opus of a voice in the left channel, and ``right`` times it in the right one."""
    codec = av.CodecContext.create("libopus", "w")
    codec.format, codec.layout, codec.sample_rate = "s16", "stereo", 48_000
    codec.bit_rate, codec.time_base = 96_000, Fraction(1, 48_000)
    made = []
    for block in range(blocks):
        pair = np.stack([voice(block), right * voice(block)], axis=1).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pair.reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = 48_000, block * BLOCK
        made += [bytes(packet) for packet in codec.encode(frame)]
    return made


def decoded(packets: list[bytes]) -> np.ndarray:
    decoder = SpeechDecoder()
    pieces = [decoder(Packet(OPUS, i, i * BLOCK, p, 0)) for i, p in enumerate(packets)]
    return np.concatenate([piece for piece in pieces if piece is not None]).astype(float)


@pytest.mark.parametrize("right", [1.0, -1.0, 0.0, -0.5])
def test_speech_keeps_its_loudness_however_its_two_channels_stand(right: float) -> None:
    alone = np.concatenate([voice(block) for block in range(50)]).astype(float)
    heard = decoded(stereo_packets(right))
    assert len(heard) % BLOCK == 0 and len(heard) >= 48 * BLOCK
    assert 0.85 < np.sqrt(np.mean(heard**2) / np.mean(alone**2)) < 1.15


def test_a_damaged_packet_is_counted_and_the_next_is_decoded() -> None:
    decoder = SpeechDecoder()
    assert decoder(Packet(OPUS, 0, 0, b"\xff" * 7, 0)) is None and decoder.damaged == 1
    assert decoder(Packet(OPUS, 1, BLOCK, stereo_packets(1.0, 3)[1], 0)) is not None
