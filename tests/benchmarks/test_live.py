"""The live benchmark's own numbers: what a process uses, and a table that hides no gap."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from benchmarks import process
from benchmarks.idle import FRAME, TICK, Still
from benchmarks.live import Row, table, used

GROWING = """
import os, sys, threading
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=threading.Event().wait, daemon=True).start()
file = open(os.devnull)
print("grown", flush=True)
sys.stdin.readline()
"""


def test_a_thread_and_a_file_more_are_counted() -> None:
    """In a process of its own: here, threads of other tests may end meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", GROWING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        before = process.footprint(child.pid)
        child.stdin.write("grow\n")
        child.stdin.flush()
        assert child.stdout.readline() == "grown\n"
        after = process.footprint(child.pid)
        child.stdin.write("end\n")
    assert (after.threads, after.files) == (before.threads + 1, before.files + 1)
    assert 1 < after.memory_mb < 100_000


def test_processor_time_grows_with_work() -> None:
    before = process.cpu_s(os.getpid())
    while process.cpu_s(os.getpid()) < before + 0.05:
        sum(range(100_000))


def test_a_row_without_latency_shows_a_dash_and_says_who_was_refused() -> None:
    row = Row("media", 4, 10.0, 25.0, None, None, 0, 0, 0.5, 0.6, 2)
    assert table([row]).splitlines()[1].split()[:5] == ["media", "4", "25.0", "-", "-"]
    assert "2 refused" in table([row])


def test_the_idle_pipeline_makes_two_frames_for_each_chunk_that_is_complete() -> None:
    stream = Still(np.zeros((64, 64, 3), np.uint8))
    stream.push(np.zeros(TICK, np.float32))
    assert list(stream.step()) == []
    stream.push(np.zeros(FRAME, np.float32))
    assert [frame.media_time for frame in stream.step()] == [0, FRAME]
    stream.push(np.zeros(3 * TICK, np.float32))
    assert stream.skip(2 * TICK + 5) == 2 * TICK and stream.media_time == 3 * TICK


def test_processors_count_while_calls_are_up_not_while_they_connect() -> None:
    idle = [(t / 4, 0.0, 0.0) for t in range(40)]
    busy = [(10 + t / 4, t * 0.125, t * 0.25) for t in range(41)]
    assert used([*idle, *busy], 2.0, 6.0) == (0.5, 1.0)
