"""Killed at any moment of recording, copying, signing: what was recorded plays, nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.provenance import Origin, sealing
from server.recordings.recorder import PARTIAL, Recorder, finish
from tests.server.recordings.test_recorder import BLOCK, FRAME, ORIGIN, picture, played, recover

KILLS = 20


def sealed(origin: dict[str, str], path: Path) -> None:
    """Signs as the server does, with its scratch file beside the recording."""
    sealing(Origin(**origin), path.name)(path)


def work(folder: Path, seed: int, told: int) -> None:
    """Recordings in real time, one after another; tells of every picture, and of closing."""
    rng = random.Random(seed)
    for turn in range(1000):
        recorder = Recorder(folder / f"{turn}{PARTIAL}", ORIGIN)
        began, length = time.monotonic(), int(rng.uniform(0.5, 2.0) * 16_000)
        for at in range(0, length, BLOCK):
            time.sleep(max(0.0, at / 16_000 - (time.monotonic() - began)))
            recorder.sound(at, np.full(960, 3000, np.int16))
            if at % FRAME == 0:
                recorder.picture(at, picture(at // FRAME))
                os.write(told, f"{turn} {at}\n".encode())
        os.write(told, f"{turn} closing\n".encode())
        recorder.close()
        finish(recorder.path, sealed)


def told_by(heard: int) -> Iterator[tuple[str, str]]:
    with os.fdopen(heard) as lines:
        for line in lines:
            turn, _, what = line.strip().partition(" ")
            yield turn, what


def kill_at_work(folder: Path, seed: int, rng: random.Random) -> dict[str, float]:
    """Kills a process amid its work; returns how many seconds it had said of each recording."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(heard)
            work(folder, seed, told)
        finally:
            os._exit(1)
    os.close(told)
    said: dict[str, float] = {}
    closing, pictures = rng.random() < 0.5, rng.randint(1, 60)
    for turn, what in told_by(heard):
        if what != "closing":
            said[turn] = int(what) / 16_000
            pictures -= 1
        if closing if what == "closing" else not closing and pictures <= 0:
            break
    time.sleep(rng.expovariate(1 / 0.03))  # the moment is what is tested
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return said


def kill_again_and_again(folder: Path, kills: int) -> int:
    """Kills, starts again, checks; returns how many recordings were played."""
    rng, count = random.Random(11), 0
    for kill in range(kills):
        here = folder / str(kill)
        here.mkdir()
        said = kill_at_work(here, kill, rng)
        recover(here, sealed)
        names = {path.name for path in here.iterdir()}
        assert names <= {f"{turn}.mp4" for turn in said}, "something is left behind"
        for turn, seconds in said.items():
            file = here / f"{turn}.mp4"
            lasts = played(file)[1] if file.exists() else 0.0
            assert lasts > seconds - 1.0, (kill, turn, seconds, lasts)
            count += file.exists()
    return count


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_recordings_of_a_process_killed_again_and_again_play(tmp_path: Path) -> None:
    assert kill_again_and_again(tmp_path, KILLS) >= KILLS // 2


def test_scratch_of_copying_and_signing_is_removed_at_the_next_start(tmp_path: Path) -> None:
    for name in (".a.mp4", "..a.mp4.0badcafe.signed", ".notes"):
        (tmp_path / name).write_bytes(b"half a file")
    assert recover(tmp_path, sealed) == []
    assert [path.name for path in tmp_path.iterdir()] == [".notes"]
