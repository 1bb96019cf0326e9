"""``python -m benchmarks.live``: how many live calls this machine carries, and at what cost.

Server and callers are processes of their own on this machine; a caller decodes every picture, which
costs about as much as a phone would spend, and is shown apart from the server's own CPU. Parts:

* ``sessions``: 1, 2, 4 ... calls at once: frame rate, microphone-to-frame p95, repeats, CPU;
* ``media``: the same without generation (a pipeline that draws nothing): what WebRTC costs alone;
* ``cycles``: memory, threads and sockets after N calls that connect and hang up;
* ``weather``: delay before, during and after 5 % loss with 30 ms of jitter, both ways.

A table for people, and a last line of JSON. ``--browser`` measures decoding in a real Chromium too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from benchmarks import process
from benchmarks.relay import Sky, Weather
from client import latency, report
from client.caller import Caller
from client.errors import CallError
from client.microphone import Microphone, Pcm, read
from client.trace import Observer

PARTS: Final = ("sessions", "media", "cycles", "weather")
SETTLE_S: Final = 1.0  # of a call, before processors count
LOSS: Final = 0.05
JITTER_S: Final = 0.03


@dataclass(frozen=True, slots=True)
class Row:
    """One load, as seen by its callers and by the server's process."""

    part: str
    sessions: int
    seconds: float
    fps: float
    p50_ms: float | None
    p95_ms: float | None
    repeats: int
    skips: int
    server_cores: float
    callers_cores: float
    refused: int


@contextlib.asynccontextmanager
async def server(*command: str, **environ: str) -> AsyncIterator[tuple[str, int]]:
    """A server of its own on a free port; URL and process id."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--port",
        "0",
        "--drain-s",
        "0",
        "--log-level",
        "warning",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        assert child.stdout is not None
        said = (await child.stdout.readline()).split()
        if not said:
            raise SystemExit("benchmarks.live: the server ended before it listened")
        url = said[-1].decode().rstrip("/").replace("localhost", "127.0.0.1")
        await _ready(url, child)
        yield url, child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _ready(url: str, child: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as http:
        while child.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)
    raise SystemExit("benchmarks.live: the server ended before it was ready")


async def load(part: str, url: str, pid: int, count: int, given: argparse.Namespace) -> Row:
    """``count`` calls at once."""
    pcm = await asyncio.to_thread(read, given.audio)
    samples: list[tuple[float, float, float]] = []
    calls = [
        latency.run(url, given.avatar, np.roll(pcm, -i * 48_000), given.seconds, measure=True)
        for i in range(count)
    ]
    meter = asyncio.create_task(_meter(pid, samples))
    done = await asyncio.gather(*calls, return_exceptions=True)
    meter.cancel()
    cores = used(samples, latency.INTERRUPT_S, given.seconds - SETTLE_S)
    runs = [run for run in done if isinstance(run, latency.Run)]
    for failure in done:
        if isinstance(failure, BaseException) and not isinstance(failure, CallError):
            raise failure
    smooth = [report.smoothness(r.trace.seen, report.frame_rate(r.call.events)) for r in runs]
    none = [np.zeros(0)]
    late = np.concatenate([report.latencies(r.trace.seen, r.began_s)[1] for r in runs] or none)
    spread = report.spread(late) or {}
    row = Row(
        part=part,
        sessions=count,
        seconds=given.seconds,
        fps=round(float(np.mean([s["fps"] for s in smooth])), 2) if smooth else 0.0,
        p50_ms=spread.get("p50"),
        p95_ms=spread.get("p95"),
        repeats=sum(s.get("repeats", 0) for s in smooth),
        skips=sum(s.get("skips", 0) for s in smooth),
        server_cores=cores[0],
        callers_cores=cores[1],
        refused=count - len(runs),
    )
    sys.stderr.write(table([row]).splitlines()[-1] + "\n")
    return row


async def _meter(pid: int, samples: list[tuple[float, float, float]]) -> None:
    while True:
        samples.append((time.monotonic(), process.cpu_s(pid), process.cpu_s(os.getpid())))
        await asyncio.sleep(0.25)


def used(
    samples: Sequence[tuple[float, float, float]], tail_s: float, seconds: float
) -> tuple[float, float]:
    """Processors in use by server and callers over ``seconds`` that end ``tail_s`` before the end.

    Counted from the end, because connecting takes as long as it takes.
    """
    end = samples[-1][0] - tail_s
    within = [row for row in samples if end - max(seconds, 1.0) <= row[0] <= end]
    if len(within) < 2:
        return 0.0, 0.0
    (began, *before), (ended, *after) = within[0], within[-1]
    server, callers = (round((b - a) / (ended - began), 2) for a, b in zip(before, after))
    return server, callers


async def cycles(url: str, pid: int, given: argparse.Namespace) -> dict[str, Any]:
    """Calls that connect, see a second and hang up; the first tenth warms the server up."""
    pcm = await asyncio.to_thread(read, given.audio)
    warm = max(3, given.cycles // 10)
    for _ in range(warm):
        await _short(url, given.avatar, pcm)
    before = await _settled(pid)
    for _ in range(given.cycles):
        await _short(url, given.avatar, pcm)
    after = await _settled(pid)
    grown = after.memory_mb / before.memory_mb - 1
    return {
        "part": "cycles",
        "cycles": given.cycles,
        "before": asdict(before),
        "after": asdict(after),
        "memory_growth": round(grown, 4),
    }


async def _short(url: str, avatar: str, pcm: Pcm) -> None:
    async with Caller(url, Microphone(pcm, repeat=True)) as call:
        seen = asyncio.Event()
        call.on_picture = lambda picture: seen.set()
        await call.start(avatar)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen.wait(), 5)


async def _settled(pid: int) -> process.Footprint:
    """The server's footprint once its sessions are gone."""
    await asyncio.sleep(2.0)
    return process.footprint(pid)


async def weather(url: str, given: argparse.Namespace) -> dict[str, Any]:
    """One call through a relay: as long clean, then with loss and jitter, then clean again.

    The last figure is of the second half of its phase, when the buffers have had their time.
    """
    pcm = await asyncio.to_thread(read, given.audio)
    phases, seconds = {"before": Sky(), "during": Sky(LOSS, JITTER_S)}, given.seconds
    starts: dict[str, float] = {}
    async with Weather() as relay, Caller(url, Microphone(pcm, repeat=True)) as call:
        call.route, call.hide, observer = relay.route, relay.hide, Observer(call)
        await call.start(given.avatar, measure="1")
        for name, relay.sky in [*phases.items(), ("after", Sky())]:
            starts[name] = time.monotonic()
            await asyncio.sleep(seconds)
        alive = not call.ended.is_set()
        began_s = call.microphone.captured_s(0)
    at_s, late = report.latencies(observer.trace.seen, began_s)
    found = {}
    for name, start in starts.items():
        begin = start - began_s + (seconds / 2 if name == "after" else 0)
        inside = (at_s >= begin) & (at_s < start - began_s + seconds)
        found[name] = report.spread(late[inside])
    share = round(relay.lost / max(1, relay.lost + relay.passed), 4)
    return {"part": "weather", "alive": alive, "lost_share": share, "latency_ms": found}


def table(rows: Sequence[Row]) -> str:
    """For people."""
    head = ("part", "calls", "fps", "p50 ms", "p95 ms", "repeats", "skips", "server", "callers")
    lines = ["".join(f"{name:>10}" for name in head) + "   (server, callers: processors)"]
    for row in rows:
        told = (row.part, row.sessions, row.fps, row.p50_ms, row.p95_ms, row.repeats, row.skips)
        cells = (*told, row.server_cores, row.callers_cores)
        note = f"   {row.refused} refused" if row.refused else ""
        lines.append("".join(f"{'-' if c is None else c:>10}" for c in cells) + note)
    return "\n".join(lines)


async def bench(given: argparse.Namespace) -> dict[str, Any]:
    """Every part that was asked for."""
    rows: list[Row] = []
    others: list[dict[str, Any]] = []
    most = str(max(given.sessions))
    if {"sessions", "cycles", "weather"} & set(given.parts):
        async with server("run_server.py", "--slots", most) as (url, pid):
            if "sessions" in given.parts:
                rows += [await load("sessions", url, pid, n, given) for n in given.sessions]
            if "cycles" in given.parts:
                others.append(await cycles(url, pid, given))
            if "weather" in given.parts:
                others.append(await weather(url, given))
            if given.browser:
                others.append(await asyncio.to_thread(_browser, url, given))
    if "media" in given.parts:
        async with server("-m", "benchmarks.idle", "--slots", most) as (url, pid):
            rows += [await load("media", url, pid, n, given) for n in given.sessions]
    print(table(rows))
    for other in others:
        print(json.dumps(other, indent=2))
    machine = {"processors": len(os.sched_getaffinity(0)), "cpu": process.cpu_name()}
    return {"benchmark": "live", **machine, "rows": [asdict(row) for row in rows], "parts": others}


def _browser(url: str, given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.browser import decoded

    return decoded(url, given.avatar, given.audio, given.seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", default=["sessions", "media"], choices=PARTS)
    parser.add_argument("--audio", type=Path, required=True, help="speech, repeated as needed")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--browser", action="store_true", help="frames decoded by Chromium too")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended too
    quiet = contextlib.redirect_stdout(sys.stderr) if given.json else contextlib.nullcontext()
    with quiet:
        result = asyncio.run(bench(given))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
