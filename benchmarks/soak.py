"""``python -m benchmarks.soak``: calls that come and go for minutes or hours; what grows meanwhile?

A server of its own, and callers in this process, each of whom stays for a while that the seed
chooses. Per minute: the server's memory, threads and files, delay from microphone to frame, and how
far sound and picture are apart. A table, a last line of JSON, and with ``--plot`` a picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import numpy as np
from numpy.typing import NDArray

from benchmarks import process
from benchmarks.live import server
from benchmarks.process import Footprint
from client import latency
from client.errors import CallError
from client.microphone import Pcm, read

LOOK_S: Final = 2.0
STAYS_S: Final = (8.0, 40.0)
SETTLE_S: Final = 20.0  # after the last call, for what ends with it
STEADY: Final = 10  # the minute from which memory must be flat, in a run that is long enough
SHARES: Final = (50, 95)
Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    at_s: float
    used: Footprint
    load: float  # processes that want a core, of the whole machine


@dataclass(frozen=True, slots=True)
class Heard:
    """What one caller measured: at which second, and ms."""

    at_s: Series
    delay_ms: Series
    offset_at_s: Series
    offset_ms: Series


@dataclass(frozen=True, slots=True)
class Minute:
    """A row of the table."""

    minute: int
    calls: int
    memory_mb: float
    threads: int
    files: int
    load: float
    delay_p50_ms: float | None
    delay_p95_ms: float | None
    offset_p50_ms: float | None
    offset_p95_ms: float | None


def minutes(samples: Sequence[Sample], calls: Sequence[Heard]) -> list[Minute]:
    """A row for each minute of which there is a sample. A call counts where it ended."""
    none = [np.zeros(0)]
    delay_at, delay = (np.concatenate([getattr(c, n) for c in calls] or none) for n in _DELAY)
    offset_at, offset = (np.concatenate([getattr(c, n) for c in calls] or none) for n in _OFFSET)
    ends = [float(call.at_s[-1]) for call in calls if len(call.at_s)]
    rows = []
    for minute in sorted({int(sample.at_s // 60) for sample in samples}):
        within = [sample for sample in samples if sample.at_s // 60 == minute]
        rows.append(
            Minute(
                minute=minute,
                calls=sum(end // 60 == minute for end in ends),
                memory_mb=round(float(np.median([s.used.memory_mb for s in within])), 1),
                threads=max(sample.used.threads for sample in within),
                files=max(sample.used.files for sample in within),
                load=round(float(np.mean([sample.load for sample in within])), 1),
                **_spread("delay", delay[delay_at // 60 == minute]),
                **_spread("offset", np.abs(offset[offset_at // 60 == minute])),
            )
        )
    return rows


_DELAY: Final = ("at_s", "delay_ms")
_OFFSET: Final = ("offset_at_s", "offset_ms")


def _spread(name: str, values: Series) -> dict[str, Any]:
    found = np.percentile(values, SHARES).round(1).tolist() if len(values) else (None, None)
    return {f"{name}_p{share}_ms": value for share, value in zip(SHARES, found, strict=True)}


def growth(rows: Sequence[Minute]) -> float | None:
    """Of memory, from minute 10, or the middle of a shorter run, to the last whole minute."""
    if len(rows) < 3:
        return None
    first = rows[min(STEADY, len(rows) // 2)]
    return round(rows[-2].memory_mb / first.memory_mb - 1, 4)


def table(rows: Sequence[Minute]) -> str:
    """For people."""
    names = list(asdict(rows[0])) if rows else []
    lines = ["".join(f"{name.removesuffix('_ms'):>12}" for name in names)]
    for row in rows:
        cells = ("-" if value is None else value for value in asdict(row).values())
        lines.append("".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


async def soak(given: argparse.Namespace) -> dict[str, Any]:
    """The whole run, and what was left when the last caller had gone."""
    pcm, rng = await asyncio.to_thread(read, given.audio), random.Random(given.seed)
    samples, heard, failed = list[Sample](), list[Heard](), list[str]()
    async with server("run_server.py", "--slots", str(given.calls + 1)) as (url, pid):
        began = time.monotonic()
        watching = asyncio.create_task(_watch(pid, began, samples))
        lanes = (
            _calls(url, given, pcm, random.Random(rng.random()), began, heard, failed)
            for _ in range(given.calls)
        )
        await asyncio.gather(*lanes)
        await asyncio.sleep(SETTLE_S)
        watching.cancel()
        left, after = await _slots(url), process.footprint(pid)
    rows = minutes(samples, heard)
    if given.plot:
        draw(given.plot, samples, heard)
    print(table(rows))
    return {
        "benchmark": "soak",
        "minutes": given.minutes,
        "calls": len(heard),
        "failed": failed,
        "memory_growth": growth(rows),
        "slots_left": left,
        "after": asdict(after),
        "rows": [asdict(row) for row in rows],
    }


async def _calls(
    url: str,
    given: argparse.Namespace,
    pcm: Pcm,
    rng: random.Random,
    began: float,
    heard: list[Heard],
    failed: list[str],
) -> None:
    """One caller after the other."""
    while (left_s := began + given.minutes * 60 - time.monotonic()) > 0:
        said = np.roll(pcm, rng.randrange(len(pcm)))
        try:
            stays_s = min(rng.uniform(*STAYS_S), max(STAYS_S[0], left_s))
            run = await latency.run(url, given.avatar, said, stays_s, measure=True)
        except CallError as failure:
            failed.append(str(failure))
            await asyncio.sleep(1.0)
            continue
        heard.append(await asyncio.to_thread(_measured, run, began))
        del run
        gc.collect()


def _measured(run: latency.Run, began: float) -> Heard:
    _, (at_s, delay_ms), apart = latency.measured(run)
    base = run.began_s - began
    return Heard(at_s + base, delay_ms, apart.at_s + base, apart.by_clock)


async def _watch(pid: int, began: float, samples: list[Sample]) -> None:
    while True:
        now = time.monotonic() - began
        samples.append(Sample(now, process.footprint(pid), os.getloadavg()[0]))
        await asyncio.sleep(LOOK_S)


async def _slots(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as answer:
        return int(cast(dict[str, Any], await answer.json())["slots"]["taken"])


def draw(path: Path, samples: Sequence[Sample], calls: Sequence[Heard]) -> None:
    """Memory, threads and files, delay, and offset over minutes. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    at = [sample.at_s / 60 for sample in samples]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    (memory, counts), (delay, offset) = axes
    memory.plot(at, [sample.used.memory_mb for sample in samples])
    counts.plot(at, [sample.used.threads for sample in samples], label="threads")
    counts.plot(at, [sample.used.files for sample in samples], label="files")
    counts.plot(at, [sample.load for sample in samples], label="load of the machine", lw=0.8)
    counts.legend()
    for call in calls:
        delay.plot(call.at_s / 60, call.delay_ms, ".", ms=2)
        offset.plot(call.offset_at_s / 60, call.offset_ms, ".", ms=2)
    for axis, title in (
        (memory, "memory of the server, MB"),
        (counts, "threads and files of the server"),
        (delay, "microphone to frame, ms"),
        (offset, "picture after sound, ms"),
    ):
        axis.set(title=title, xlabel="minutes")
    for axis in (memory, counts, delay):
        axis.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--audio", type=Path, required=True, help="speech, repeated as needed")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--calls", type=int, default=1, help="at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--plot", type=Path, help="a PNG")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended too
    quiet = contextlib.redirect_stdout(sys.stderr) if given.json else contextlib.nullcontext()
    with quiet:
        result = asyncio.run(soak(given))
    print(json.dumps(result))
    return int(bool(result["slots_left"] or result["failed"]))


if __name__ == "__main__":
    sys.exit(main())
