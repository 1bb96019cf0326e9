"""One subject in a process of its own: ``python -X faulthandler -m benchmarks.stress.alone NAME``.

Rounds until they are done, or until the time is up; then one line of JSON: what the subject counted
and what it has left in the process, threads and files, that was not there after its first round.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.stress.subjects import BATCH

FEW_S: Final = 5.0  # that threads and files of a pool may take to go
Run = Callable[[int, int], dict[str, int]]


def measure(run: Run, batch: int, given: argparse.Namespace) -> dict[str, int]:
    """What all rounds counted together, and what is left of them."""
    ends, seed = time.monotonic() + given.seconds, given.seed
    counts = Counter({**run(1, seed), "rounds": 1})  # what is made once is made now
    before = _held()
    while counts["rounds"] < given.rounds or time.monotonic() < ends:
        rounds = min(batch, given.rounds - counts["rounds"]) if given.rounds else batch
        seed += 1
        _add(counts, {**run(rounds, seed), "rounds": rounds})
    counts.update(_grown(before))
    return dict(counts)


def _add(counts: Counter[str], found: dict[str, int]) -> None:
    """Counts are summed; of times, in ms, the longest is kept."""
    for name, value in found.items():
        counts[name] = max(counts[name], value) if name.endswith("_ms") else counts[name] + value


def _held() -> dict[str, int]:
    gc.collect()
    return {
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def _grown(before: dict[str, int]) -> dict[str, int]:
    ends = time.monotonic() + FEW_S
    while True:
        left = {name: max(0, count - before[name]) for name, count in _held().items()}
        if not any(left.values()) or time.monotonic() > ends:
            return left
        time.sleep(0.05)


def main() -> None:
    """Runs the subject that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable(logging.ERROR)  # what is provoked is no news
    run: Run = importlib.import_module(f"benchmarks.stress.{given.subject}").run
    print(json.dumps(measure(run, BATCH[given.subject], given)))


if __name__ == "__main__":
    main()
