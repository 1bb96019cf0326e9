"""A sound file speaks in real time, at 48 kHz, whatever it was."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from client.errors import BadSource
from client.microphone import BLOCK, RATE, Microphone, read
from tests.client.conftest import babble


def test_any_rate_becomes_48_khz(speech: Path) -> None:
    assert abs(len(read(speech)) - 3 * RATE) < 100


def test_what_is_no_sound_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_text("not a sound")
    with pytest.raises(BadSource, match="cannot read .*no.wav"):
        read(tmp_path / "no.wav")
    with pytest.raises(BadSource, match="cannot read"):
        read(tmp_path / "missing.wav")


def test_a_microphone_is_silent_after_its_file_or_begins_again() -> None:
    pcm = babble(1.5)
    once, again = Microphone(pcm), Microphone(pcm, repeat=True)
    assert np.array_equal(once.spoken(0, len(pcm)), pcm)
    assert not once.spoken(len(pcm), BLOCK).any()
    assert np.array_equal(again.spoken(len(pcm), len(pcm)), pcm)


async def test_a_block_leaves_when_its_last_sample_has_been_captured() -> None:
    microphone = Microphone(babble(1.5), repeat=True)
    for block in range(3):
        frame = await microphone.recv()
        assert frame.pts == block * BLOCK
        assert time.monotonic() >= microphone.captured_s((block + 1) * BLOCK) - 0.001
    microphone.hush()
    assert not microphone.spoken(3 * BLOCK, BLOCK).any()
    assert np.array_equal(microphone.spoken(0, BLOCK), babble(1.5)[:BLOCK])
