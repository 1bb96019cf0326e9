"""What each acceleration gains and costs: ``python -m benchmarks.acceleration [--model M]``.

Every switch is measured against the plain float32 path in the same run, on inputs drawn afresh:
how many times faster, and how far the result moves. The rows of a model family live in a module of
their own; this file knows which, how two ways are timed fairly, and how the table looks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

import torch

from benchmarks.process import cpu_name

FAMILIES: Final = {  # model -> module with `rows(options) -> Iterable[Row]`
    "mini": "benchmarks.acceleration_mini",
    "tiny": "benchmarks.acceleration_wan",
    "wan-1.3b": "benchmarks.acceleration_wan",
    "wan-14b": "benchmarks.acceleration_wan",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. ``seed`` is drawn afresh unless given; ``depth`` cuts a transformer that is
    too slow for the device to fewer blocks, 0 keeps all."""

    model: str
    device: str
    repeats: int
    seed: int
    depth: int = 0
    only: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """One row, measured. ``speed`` is plain time over fast time; ``error`` is in ``unit``."""

    speed: float | None
    error: float | None
    unit: str = "relative"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One switch; ``measure`` raises ``Skipped`` where the device lacks what it needs."""

    group: str
    name: str
    measure: Callable[[], Figures]


class Skipped(Exception):
    """A row that cannot be measured here, and why."""


def clock(device: str) -> float:
    """Seconds: of the device once it is done, or of this process's own processor time, so that a
    busy neighbour does not count."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Median time of ``work``, after one run that does not count."""
    return compared([work], device, repeats)[0]


def compared(works: Sequence[Callable[[], object]], device: str, repeats: int) -> list[float]:
    """Median time of each, taken in turns: what the machine does meanwhile hits all of them."""
    taken: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(repeats):
        for work, times in zip(works, taken, strict=True):
            start = clock(device)
            work()
            times.append(clock(device) - start)
    return [median(times) for times in taken]


def relative(found: torch.Tensor, plain: torch.Tensor) -> float:
    """Norm of the difference over the norm of ``plain``."""
    a, b = found.double(), plain.double()
    return float((a - b).norm() / b.norm())


def hardware(device: str) -> str:
    """What it runs on, for the record."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{cpu_name()}, {torch.get_num_threads()} thread(s)"


def measure(rows: Iterable[Row], only: str) -> list[dict[str, object]]:
    """Every row whose name or group contains ``only``; skipped ones keep their reason."""
    table = []
    for row in rows:
        if only not in row.name and only not in row.group:
            continue
        try:
            figures = row.measure()
        except Skipped as reason:
            figures = Figures(None, None, note=f"not run: {reason}")
        table.append({"group": row.group, "name": row.name, **asdict(figures)})
        print(line(table[-1]), flush=True)
    return table


def line(entry: dict[str, object]) -> str:
    """One line of the table."""
    speed = "" if entry["speed"] is None else f"{entry['speed']:.2f}x"
    error = "" if entry["error"] is None else f"{entry['error']:.3g} {entry['unit']}"
    return f"{entry['group']:14} {entry['name']:34} {speed:>8} {error:>22}  {entry['note']}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=FAMILIES, default="mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, help="draw the same inputs again")
    parser.add_argument("--depth", type=int, default=0, help="cut the transformer to N blocks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="rows whose name or group contains this")
    parser.add_argument("--json", action="store_true", help="end with one line for machines")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    seed = given.seed if given.seed is not None else time.time_ns() % 2**31
    options = Options(given.model, given.device, given.repeats, seed, given.depth, given.only)
    told = hardware(given.device)
    print(f"{given.model} on {told}, torch {torch.__version__}, seed {seed}")
    print(line({"group": "group", "name": "switch", "speed": None, "error": None, "note": ""}))
    rows = importlib.import_module(FAMILIES[given.model]).rows(options)
    with torch.inference_mode():
        table = measure(rows, given.only)
    if given.json:
        print(json.dumps({"benchmark": "acceleration", "model": given.model, "hardware": told,
                          "seed": seed, "rows": table}))  # fmt: skip


if __name__ == "__main__":
    # The rows import this module by its name: theirs, not the copy that was started, has to run.
    importlib.import_module("benchmarks.acceleration").main()
