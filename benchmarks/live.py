"""Live calls under load: ``python -m benchmarks.live [--json] [--sessions 1 2 3] [--url URL]``.

Starts a server of its own (or measures the one at ``--url``, without its CPU and memory), calls it
from this process, and reads the measuring strip of what comes back. Four questions:

* how frame rate, latency and CPU grow with sessions (``--sessions``);
* what media cost without generation (``--media``: a pipeline that draws nothing new);
* what is left after many calls (``--cycles 200``);
* whether memory grows with a call (``--soak MINUTES``).

Callers decode every picture on the same machine: CPU figures are of the server process alone,
frame rates those of a machine that carries both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from client.caller import Caller
from client.microphone import RATE, Microphone, Pcm
from client.receive import Picture
from server import marks

ROOT: Final = Path(__file__).resolve().parent.parent
REAL: Final = ("run_server.py",)
MEDIA: Final = ("-m", "tests.serve_fake")
TICKS: Final = os.sysconf("SC_CLK_TCK")
SETTLE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Load:
    """What so many sessions at a time got and cost."""

    sessions: int
    refused: int
    fps: float  # of the session that got least
    p50_ms: float
    p95_ms: float
    cpu_percent: float | None  # of one core, the server alone
    rss_mb: float | None


@dataclass(frozen=True, slots=True)
class Left:
    """What the server process holds, before and after."""

    what: str
    before_mb: float
    after_mb: float
    threads: int
    sockets: int


class Process:
    """A server process, as the system sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def threads(self) -> int:
        """Threads that live."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def sockets(self) -> int:
        """Open sockets."""
        folder = Path(f"/proc/{self.pid}/fd")
        return sum("socket:" in os.readlink(link) for link in folder.iterdir())


class Watcher:
    """Counts one caller's pictures and times them by their strips."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.arrived: list[float] = []
        self.latency_ms: list[float] = []
        caller.on_picture = self._see

    def _see(self, picture: Picture) -> None:
        self.arrived.append(picture.arrived_s)
        luma = picture.frame.to_ndarray()[: picture.frame.height]
        mark = marks.read(luma)
        if mark is None or not mark.flags & marks.SOURCE:
            return
        sample = self._caller.sample_of(mark.rtp_timestamp)
        if sample is not None:
            spoken = self._caller.microphone.captured_s(sample)
            self.latency_ms.append((picture.arrived_s - spoken) * 1e3)

    def fps(self, since_s: float) -> float:
        """Pictures a second since then."""
        seen = [at for at in self.arrived if at > since_s]
        return len(seen) / max(time.monotonic() - since_s, 1e-3)


@contextmanager
def serving(command: Sequence[str], *flags: str) -> Iterator[tuple[str, Process]]:
    """A server of our own on a free port, ready to be called."""
    environ = {**os.environ, "TICK_S": "0"}
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0", "--drain-s", "0", *flags],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        if not words:
            raise SystemExit("the server did not start: run it by hand to see why")
        url = words[-1].rstrip("/")
        _ready(url)
        yield url, Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()


def _ready(url: str, timeout_s: float = 180) -> None:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} was not ready within {timeout_s:.0f} s")


def speech(seconds: float = 10.0) -> Pcm:
    """Something like speech: a buzz with formants and syllables. No file is needed."""
    at = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 120 * h * at) / h for h in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 4 * at), 0, 1) * (np.sin(2 * np.pi * 0.3 * at) > -0.5)
    return np.asarray(wave * syllables * 6000, np.int16)


async def load(
    url: str, avatar: str, sessions: int, seconds: float, process: Process | None
) -> Load:
    """So many calls at once, for so long."""
    callers = [Caller(url, Microphone(speech(), repeat=True)) for _ in range(sessions)]
    watchers = [Watcher(caller) for caller in callers]
    for caller in callers:
        await caller.__aenter__()
    try:
        started = await asyncio.gather(
            *(caller.start(avatar, measure="1") for caller in callers), return_exceptions=True
        )
        await asyncio.sleep(SETTLE_S)
        since, cpu = time.monotonic(), process.cpu_s() if process else 0.0
        for watcher in watchers:
            watcher.latency_ms.clear()
        await asyncio.sleep(seconds)
        rates = [w.fps(since) for w, s in zip(watchers, started, strict=True) if s is None]
        waits = [ms for watcher in watchers for ms in watcher.latency_ms] or [float("nan")]
        used = (process.cpu_s() - cpu) / (time.monotonic() - since) * 100 if process else None
        return Load(
            sessions=sessions,
            refused=sum(outcome is not None for outcome in started),
            fps=round(min(rates, default=0.0), 2),
            p50_ms=round(float(np.percentile(waits, 50)), 1),
            p95_ms=round(float(np.percentile(waits, 95)), 1),
            cpu_percent=round(used, 1) if used is not None else None,
            rss_mb=round(process.rss_mb(), 1) if process else None,
        )
    finally:
        for caller in callers:
            await caller.__aexit__(None, None, None)


async def cycles(url: str, avatar: str, count: int, process: Process) -> Left:
    """Calls, sees a picture, hangs up; again and again. Memory is compared after a tenth."""
    before = 0.0
    for cycle in range(count):
        if cycle == max(1, count // 10):
            before = process.rss_mb()
        seen = asyncio.Event()
        async with Caller(url, Microphone(speech(1.0), repeat=True)) as caller:
            caller.on_picture = lambda picture, seen=seen: seen.set()  # type: ignore[misc]
            await caller.start(avatar)
            await asyncio.wait_for(seen.wait(), 30)
    await asyncio.sleep(1.0)
    return _left(f"{count} cycles", before, process)


async def soak(url: str, avatar: str, minutes: float, process: Process) -> Left:
    """One call; memory at its end against minute two (or a tenth of it, if it is short)."""
    first_s = min(120.0, minutes * 6.0)
    async with Caller(url, Microphone(speech(), repeat=True)) as caller:
        await caller.start(avatar)
        await asyncio.sleep(first_s)
        before = process.rss_mb()
        await asyncio.sleep(minutes * 60 - first_s)
        return _left(f"{minutes:g} minutes", before, process)


def _left(what: str, before_mb: float, process: Process) -> Left:
    after = process.rss_mb()
    return Left(what, round(before_mb, 1), round(after, 1), process.threads(), process.sockets())


def table(rows: Sequence[Load | Left]) -> str:
    """Rows of one kind, for people."""
    names = list(asdict(rows[0]))
    lines = [names] + [[str(value) for value in asdict(row).values()] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


async def measure(
    arguments: argparse.Namespace, url: str, process: Process | None
) -> list[Load] | list[Left]:
    """What the arguments ask for."""
    if process and arguments.cycles:
        return [await cycles(url, arguments.avatar, arguments.cycles, process)]
    if process and arguments.soak:
        return [await soak(url, arguments.avatar, arguments.soak, process)]
    return [
        await load(url, arguments.avatar, sessions, arguments.seconds, process)
        for sessions in arguments.sessions
    ]


def main() -> int:
    """Runs, prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description="Live calls under load.")
    parser.add_argument("--url", help="a running server, instead of one of our own")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--media", action="store_true", help="without generation")
    parser.add_argument("--cycles", type=int, default=0, metavar="N")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    arguments = parser.parse_args()
    rows: list[Any]
    if arguments.url:
        rows = asyncio.run(measure(arguments, arguments.url, None))
    else:
        slots = str(max(arguments.sessions))
        command = MEDIA if arguments.media else REAL
        with serving(command, "--slots", slots) as (url, process):
            rows = asyncio.run(measure(arguments, url, process))
    if not arguments.json:
        print(table(rows))
    print(json.dumps({"benchmark": "live", "rows": [asdict(row) for row in rows]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
