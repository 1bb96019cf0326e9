"""``python -m tests.mutations``: is every break of the code noticed by the test that is named?

Each break is put into a copy of the tree, never into the checkout, and its test is run there. A
line for each break that is not caught, a table, and a last line of JSON; status 1 unless all are
caught. The tests must pass without breaks (``make test``), else a failure says nothing.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations.breaks import Break, Outcome, Verdict, attempt, copy, load


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    given = _arguments(argv)
    chosen = [b for b in load() if given.only in b.name or given.only in b.file]
    chosen = [b for b in chosen if b.fast or not given.fast]
    if not chosen:
        sys.stderr.write(f"tests.mutations: no break is named {given.only!r}\n")
        return 2
    began = time.monotonic()
    verdicts = judge(chosen, given.jobs)
    counts = Counter(verdict.outcome for verdict in verdicts)
    result = {
        "benchmark": "mutations",
        "breaks": len(chosen),
        **{outcome.value: counts[outcome] for outcome in Outcome},
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(result))
    return int(counts[Outcome.CAUGHT] < len(chosen))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="NAME", help="breaks with this in the name")
    parser.add_argument("--fast", action="store_true", help="the dozen that the test suite tries")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    return parser.parse_args(argv)


def judge(breaks: Sequence[Break], jobs: int = 1) -> list[Verdict]:
    """All of them, each in one of ``jobs`` copies of the tree; told as they come."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            trees.put(copy(Path(folder) / str(number)))

        def one(break_: Break) -> Verdict:
            tree = trees.get()
            try:
                verdict = attempt(break_, tree)
            finally:
                trees.put(tree)
            print(f"{verdict.outcome.value:9}{verdict.seconds:5.0f} s  {break_.name}", flush=True)
            if verdict.outcome is not Outcome.CAUGHT:
                print(f"             {break_.file}: {break_.test}: {verdict.said}", flush=True)
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, breaks))


if __name__ == "__main__":
    sys.exit(main())
