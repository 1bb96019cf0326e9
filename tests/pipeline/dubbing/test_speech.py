"""When the mouth speaks, and what is heard."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.dubbing.sound import BLOCK, mixed
from pipeline.dubbing.speech import Loudness, MouthMotion
from pipeline.media.audio_file import open_audio
from pipeline.models.mini.rig.state import MOUTH, STATE_DIM

FRAME = 640


def speech(*voiced: bool) -> np.ndarray:
    loud = np.repeat(np.array(voiced, np.float32), FRAME)
    return (0.3 * loud * np.sin(np.arange(len(loud)) * 0.3)).astype(np.float32)


def test_the_mouth_rests_closed_within_120_ms_of_the_last_sound() -> None:
    loudness = Loudness([speech(*[True] * 10, *[False] * 15)])
    list(loudness.pieces())
    assert loudness.activity(9) == 1
    assert loudness.activity(9 + 3) == 0


def test_a_stop_between_sounds_is_speech() -> None:
    loudness = Loudness([speech(*[True] * 8, *[False] * 3, *[True] * 8)])
    list(loudness.pieces())
    assert min(loudness.activity(k) for k in range(19)) == 1


def test_motion_is_taken_between_frames_and_ends_with_the_speech() -> None:
    loudness = Loudness([speech(*[True] * 12)])
    list(loudness.pieces())
    states = [np.full(STATE_DIM, k, np.float32) for k in range(12)]
    motion = MouthMotion(iter(states), loudness, np.zeros(len(MOUTH), np.float32))
    assert np.allclose(motion.at(5.5 / 25)[0], 5.5)
    assert motion.at(2.0)[1] == 0


def test_the_videos_own_sound_stays_around_the_span(words: Path) -> None:
    audio = open_audio(words)
    blocks = np.concatenate(list(islice(mixed(audio, audio, "mono", 0.1, 0.2), 10)), 1)[0]
    alone = np.concatenate(list(islice(mixed(audio, None, "mono", 0, float("inf")), 10)), 1)[0]
    assert np.allclose(blocks[:4000], alone[:4000], atol=1e-6)
    assert np.allclose(blocks[6000:9000], alone[1200:4200], atol=1e-6)
    assert np.abs(blocks[13 * BLOCK :]).max(initial=0) == 0
