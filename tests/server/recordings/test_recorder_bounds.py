"""What waits for a recorder whose disk is too slow is bounded: pictures and sounds are left out."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from server.recordings.recorder import Recorder
from server.recordings.tape_writer import MAX_PICTURES, MAX_SOUNDS


def test_what_waits_for_a_slow_disk_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "_run", lambda self: None)  # nothing is ever written
    recorder = Recorder(tmp_path / "slow.part.mp4", {})
    picture, sound = av.VideoFrame(16, 16, "yuv420p"), np.zeros(960, np.int16)
    for at in range(2 * MAX_PICTURES):
        recorder.picture(at * 640, picture)
    assert recorder._queue.qsize() == MAX_PICTURES
    assert recorder.left_out == MAX_PICTURES, "and it is said how many"
    for at in range(2 * MAX_SOUNDS):
        recorder.sound(at * 320, sound)
    assert recorder._queue.qsize() == MAX_SOUNDS
    recorder.close()
