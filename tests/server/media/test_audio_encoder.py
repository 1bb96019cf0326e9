"""The voice's encoder: what is heard of a sound that it was given, at the rate it was told."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from server.media.encoders import AUDIO_BITRATE, AUDIO_CLOCK, AUDIO_TIGHT, AudioEncoder
from tests.server.caller import BLOCK, voice

PAUSES = (range(30, 34), range(70, 74))
SPOKEN = [voice(i) * (not any(i in pause for pause in PAUSES)) for i in range(100)]


def coded(tight: range) -> tuple[list[int], NDArray[np.float64]]:
    """Two seconds of a voice with pauses: bytes of each packet, and how loud each is heard."""
    encoder, decoder = AudioEncoder(), av.CodecContext.create("opus", "r")
    sizes, levels = [], []
    for block, pcm in enumerate(SPOKEN):
        encoder.bitrate = AUDIO_TIGHT if block in tight else AUDIO_BITRATE
        packet = encoder.encode(pcm.astype(np.int16), block * AUDIO_CLOCK // 50)
        assert packet is not None and packet.pts == block * BLOCK
        sizes.append(packet.size)
        heard = [frame.to_ndarray()[0] for frame in decoder.decode(av.Packet(bytes(packet)))]
        levels.append(np.sqrt(np.mean(np.concatenate(heard).astype(float) ** 2)))
    return sizes, np.array(levels)


def test_a_lower_rate_takes_fewer_bytes_from_the_next_pause_on_and_a_higher_one_comes_back() -> (
    None
):
    sizes, _ = coded(range(20, 60))
    wide, late, tight, again = (
        np.mean(sizes[a:b]) for a, b in ((5, 20), (20, 30), (36, 70), (80, 100))
    )
    assert late > 0.85 * wide, "in the middle of speech nothing changes"
    assert tight < 0.75 * wide and again > 0.85 * wide


def test_no_change_of_rate_is_heard_as_a_hole() -> None:
    (_, changed), (_, steady) = coded(range(20, 60)), coded(range(0))
    loud = steady > 0.1 * steady.max()
    assert loud.sum() > 70 and (changed[loud] / steady[loud]).min() > 0.7
