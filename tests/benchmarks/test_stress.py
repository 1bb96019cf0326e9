"""The stress suite: what it counts as a fault, and a minute of it."""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections import Counter

import pytest

from benchmarks.stress import alone
from benchmarks.stress.__main__ import Row, main, table
from benchmarks.stress.subjects import BATCH

GIVEN = argparse.Namespace(rounds=5, seconds=0.0, seed=3)


def test_rounds_are_counted_together_each_batch_with_a_seed_of_its_own() -> None:
    asked = list[tuple[int, int]]()

    def run(rounds: int, seed: int) -> dict[str, int]:
        asked.append((rounds, seed))
        return {"rounds": rounds, "lost": rounds}

    counted = alone.measure(run, 2, GIVEN)
    assert asked == [(1, 3), (2, 4), (2, 5)]
    assert counted["rounds"] == counted["lost"] == 5


def test_threads_and_files_that_stay_are_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "FEW_S", 0.0)
    done, kept = threading.Event(), list[int]()

    def run(rounds: int, seed: int) -> dict[str, int]:
        threading.Thread(target=done.wait).start()
        kept.append(os.open(os.devnull, os.O_RDONLY))
        return {"rounds": rounds}

    counted = alone.measure(run, 2, GIVEN)
    done.set()
    for number in kept:
        os.close(number)
    assert (counted["threads"], counted["files"]) == (2, 2), "of the batches after the first"


@pytest.mark.parametrize(
    "row", [Row("joins", 0, 1.0, fault="SIGSEGV"), Row("joins", 0, 1.0, left={"peers": 1})]
)
def test_a_crash_and_what_is_left_are_seen(row: Row) -> None:
    assert not row.clean and Row("joins", 0, 1.0, 9, left={"peers": 0}).clean
    shown = table([row]).splitlines()[1].split()
    assert ("SIGSEGV" in shown) is bool(row.fault) and ("1" in shown[4:]) is bool(row.left)


def test_a_subject_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["earthquakes"])
    assert "earthquakes" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_stress_leaves_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    status = main(["--minutes", "1"])
    told = capfd.readouterr().out
    assert status == 0, told
    rows = json.loads(told.splitlines()[-1])["rows"]
    assert [row["subject"] for row in rows] == list(BATCH) and all(row["rounds"] for row in rows)


def test_counts_of_batches_are_summed_and_of_times_the_longest_is_kept() -> None:
    counts = Counter(rounds=1, freed_ms=9000)
    alone._add(counts, {"rounds": 2, "freed_ms": 8000})
    alone._add(counts, {"rounds": 3, "freed_ms": 9500})
    assert counts == {"rounds": 6, "freed_ms": 9500}
