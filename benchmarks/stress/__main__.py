"""``python -m benchmarks.stress [SUBJECT ...]``: does anything take it down, is anything left?

Each subject runs in a process of its own, under faulthandler and with a time limit, for its share
of ``--minutes`` or for ``--rounds``. A table: crashes (signals, hangs, and what raised) and what
was left over. A last line of JSON; status 1 when anything crashed or is left.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from benchmarks.stress.subjects import BATCH

LEFT: Final = ("peers", "tasks", "streams", "slots", "threads", "files", "lost", "old", "ghosts")
MORE_S: Final = 240.0  # for a start, and for the batch that was begun when the time was up
STACKS_S: Final = 10.0  # to say where it hangs


@dataclass(frozen=True, slots=True)
class Row:
    """One subject. ``fault`` says how it ended if not well; ``left`` what it found left over."""

    subject: str
    seed: int
    seconds: float
    rounds: int = 0
    fault: str = ""
    left: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether all is as it must be."""
        return not self.fault and not any(self.left.values())


def attempt(subject: str, given: argparse.Namespace, seconds: float) -> Row:
    """Runs a subject to its end, or to the end of our patience."""
    command = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.stress.alone", subject]
    flags = ["--seed", str(given.seed), "--rounds", str(given.rounds), "--seconds", str(seconds)]
    began = time.monotonic()
    child = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
    try:
        told, _ = child.communicate(timeout=max(given.limit_s, seconds + MORE_S))
        fault = _fault(child.returncode)
    except subprocess.TimeoutExpired:
        told, fault = _stopped(child), "hung"
    took = round(time.monotonic() - began, 1)
    if fault:
        return Row(subject, given.seed, took, fault=fault)
    counts = json.loads(told.splitlines()[-1])
    left = {name: int(counts[name]) for name in LEFT if name in counts}
    return Row(subject, given.seed, took, counts["rounds"], left=left)


def _stopped(child: subprocess.Popen[str]) -> str:
    """Ends what hangs; faulthandler writes where."""
    child.send_signal(signal.SIGABRT)
    try:
        return child.communicate(timeout=STACKS_S)[0]
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0]


def _fault(status: int) -> str:
    if status < 0:
        return signal.Signals(-status).name
    return f"status {status}" if status else ""


def table(rows: Sequence[Row]) -> str:
    """For people."""
    head = ("subject", "rounds", "seconds", "crashes", *LEFT)
    lines = [head]
    for row in rows:
        left = (str(row.left.get(name, "-")) for name in LEFT)
        crashed = row.fault or "0"
        lines.append((row.subject, str(row.rounds), f"{row.seconds:.0f}", crashed, *left))
    return "\n".join("".join(f"{cell:>11}" for cell in line) for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(BATCH))
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--minutes", type=float, default=1.0, help="of all subjects together")
    amount.add_argument("--rounds", type=int, default=0, help="of each subject, however long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit-s", type=float, default=0.0, help="of a subject with many --rounds"
    )
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    given = parser.parse_args(argv)
    if unknown := set(given.subjects) - set(BATCH):
        parser.error(f"no subject {sorted(unknown)}: there are {', '.join(BATCH)}")
    subjects = given.subjects or list(BATCH)
    share = given.minutes * 60 / len(subjects)
    rows = [attempt(subject, given, 0.0 if given.rounds else share) for subject in subjects]
    if not given.json:
        print(table(rows))
    clean = all(row.clean for row in rows)
    print(json.dumps({"benchmark": "stress", "clean": clean, "rows": [asdict(r) for r in rows]}))
    return int(not clean)


if __name__ == "__main__":
    sys.exit(main())
