"""Every check in a process of its own, for so long at most: one that hangs, dies or loses the
device's context costs itself alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.gpu.bench import ROW

Row = dict[str, Any]
START_S: Final = 60  # importing torch and waking the device


class Run(NamedTuple):
    """How checks are run: device, small or full size, seconds for everything."""

    device: str
    tiny: bool
    seconds: float


def run_checks(
    names: Sequence[str], limits: dict[str, float], how: Run, told: Callable[[Row], None]
) -> list[Row]:
    """Rows of all checks, in order; ``told`` of each as it comes."""
    rows: list[Row] = []
    until = time.monotonic() + how.seconds
    for name in names:
        left = until - time.monotonic()
        limit = min(limits[name] + START_S, left)
        found = _one(name, how, limit) if left > 5 else [_row(name, None, "no time was left")]
        for row in found:
            told(row)
        rows += found
    return rows


def _one(name: str, how: Run, limit: float) -> list[Row]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--worker", name, "--device", how.device]
    command += ["--tiny"] if how.tiny else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit,
                              cwd=Path(__file__).parents[2])  # fmt: skip
        out, fault = done.stdout, _fault(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as late:
        raw = late.stdout or b""
        out = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        fault = f"out of time after {limit:.0f} s"
    lines = [line.removeprefix(ROW) for line in out.splitlines() if line.startswith(ROW)]
    rows = [{"check": name, **json.loads(line)} for line in lines]
    return [*rows, _row(name, False, fault)] if fault else rows


def _fault(status: int, errors: str) -> str:
    return "" if status == 0 else f"exit status {status}: {' '.join(errors[-400:].split())}"


def _row(name: str, good: bool | None, note: str) -> Row:
    return {"check": name, "name": "ended", "value": None, "unit": "", "good": good, "note": note}


def line(row: Row) -> str:
    """A row of the table."""
    verdict = {True: "good", False: "BAD", None: ""}[row["good"]]
    value = "" if row["value"] is None else f"{row['value']:.4g}"
    return (f"{verdict:4} {row['check']:15} {row['name'][:48]:48} {value:>9} {row['unit']:14} "
            f"{row['note']}").rstrip()  # fmt: skip
