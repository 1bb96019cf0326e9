"""``python -m benchmarks.weather``: a call in bad weather, before, during and after.

A server of its own, a caller in this process, and a relay on loopback between them. Each weather
is a call: calm, the weather, calm again. For each part: delay from microphone to frame, frames
a second, the longest freeze, breaks of the sound, how far sound and picture are apart, and bits. A
table for people; ``--json`` prints one line.
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
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from benchmarks import process
from benchmarks.live import server
from benchmarks.relay import Sky, Weather
from client import report, voice
from client.caller import Caller
from client.errors import CallError
from client.microphone import RATE, Microphone, Pcm, read
from client.receive import SenderClock
from client.trace import Observer, Trace

CALM_S: Final = 6.0
Clocks: TypeAlias = tuple[SenderClock, SenderClock]
AFTER_S: Final = 3.0  # a delay has so long to come down again
LOOK_S: Final = 4.0  # and is looked at for so long then
FAIR: Final = Sky()
SKIES: Final = {
    "loss-2": Sky(loss=0.02),
    "loss-10": Sky(loss=0.1),
    "loss-20": Sky(loss=0.2),
    "jitter-30": Sky(jitter_s=0.03),
    "jitter-80": Sky(jitter_s=0.08),
    "reorder-10": Sky(reorder=0.1),
    "rate-300": Sky(rate=300_000),
    "rate-150": Sky(rate=150_000),
    "dark-3": Sky(dark=True),
    "dark-7": Sky(dark=True),
    "dark-15": Sky(dark=True),
    "stopped-5": FAIR,  # the server's process
}
LASTS: Final = {"dark-3": 3.0, "dark-7": 7.0, "dark-15": 15.0, "stopped-5": 5.0}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a call, as its caller saw it."""

    p50_ms: float | None
    p95_ms: float | None
    fps: float
    freeze_s: float  # the longest time without a new picture
    gap_s: float  # the longest time without sound
    apart_p95_ms: float | None  # as a player aligns them
    kbps: int  # of pictures
    size: int  # the side of the last picture


@dataclass(frozen=True, slots=True)
class Row:
    """One weather."""

    weather: str
    alive: bool
    reconnects: int
    parts: dict[str, Part]


async def one(url: str, pid: int, name: str, given: argparse.Namespace, pcm: Pcm) -> Row:
    """A call in one weather."""
    lasts = LASTS.get(name, given.seconds)
    async with Weather() as relay, Caller(url, Microphone(pcm, repeat=True)) as call:
        call.route, call.hide, observer = relay.route, relay.hide, Observer(call)
        await call.start(given.avatar, measure="1")
        marks = [await _after(1.5), await _after(CALM_S)]
        clocks = [_clocks(call)]
        relay.sky = SKIES[name]
        if name.startswith("stopped"):
            os.kill(pid, signal.SIGSTOP)
        marks.append(await _after(lasts))
        os.kill(pid, signal.SIGCONT)
        relay.sky = FAIR
        clocks.append(_clocks(call))
        marks += [await _after(AFTER_S), await _after(LOOK_S)]
        clocks += [_clocks(call)] * 2
        alive = not call.ended.is_set()
        began_s = call.microphone.captured_s(0)
        sent = call.microphone.spoken(0, call.microphone.position)
        parts = {
            part: _part(observer.trace, clocks[i], sent, began_s, marks[i], marks[i + 1])
            for i, part in enumerate(("before", "during", "settling", "after"))
        }
    return Row(name, alive, call.reconnects, parts)


async def _after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return time.monotonic()


def _clocks(call: Caller) -> Clocks:
    """As they are now: a new connection restarts them."""
    return copy(call.lines["video"].clock), copy(call.lines["audio"].clock)


def _part(
    whole: Trace, clocks: Clocks, sent: Pcm, began_s: float, from_s: float, to_s: float
) -> Part:
    trace = Trace(
        [one for one in whole.seen if from_s <= one.arrived_s < to_s],
        [one for one in whole.heard if from_s <= one.arrived_s < to_s],
    )
    late = report.latencies(trace.seen, began_s)[1]
    spread = report.spread(late) or {}
    echoes = voice.echoes(trace.heard, sent, lambda at_s: int((at_s - began_s) * RATE))
    apart = report.offsets(trace, echoes, *clocks, began_s)
    new = [one.decoded_s for one in report.fresh(trace.seen)]
    beyond = report.spread(np.abs(apart.by_clock)) or {}
    return Part(
        p50_ms=spread.get("p50"),
        p95_ms=spread.get("p95"),
        fps=round(len(new) / (to_s - from_s), 1),
        freeze_s=_longest([from_s, *new, to_s]),
        gap_s=_longest([from_s, *(one.arrived_s for one in trace.heard), to_s]),
        apart_p95_ms=beyond.get("p95"),
        kbps=round(sum(one.size for one in trace.seen) * 8 / 1000 / (to_s - from_s)),
        size=trace.seen[-1].size_px if trace.seen else 0,
    )


def _longest(moments: Sequence[float]) -> float:
    return round(float(np.max(np.diff(moments))), 2)


def table(rows: Sequence[Row]) -> str:
    """For people."""
    head = ("p50", "p95", "fps", "freeze", "gap", "apart", "kbit/s", "pixels")
    lines = [f"{'weather':<12}{'part':<10}" + "".join(f"{name:>9}" for name in head)]
    for row in rows:
        for name, part in row.parts.items():
            cells = "".join(f"{'-' if cell is None else cell:>9}" for cell in asdict(part).values())
            lines.append(f"{row.weather:<12}{name:<10}{cells}")
        lines.append(f"{'':<12}{'alive' if row.alive else 'ENDED'}, {row.reconnects} reconnects")
    return "\n".join(lines)


async def bench(given: argparse.Namespace) -> dict[str, Any]:
    """Every weather that was asked for."""
    pcm = await asyncio.to_thread(read, given.audio)
    rows: list[Row] = []
    command = given.server.split()
    async with server(*command, "--slots", "2") as (url, pid):
        for name in given.weathers:
            try:
                rows.append(await one(url, pid, name, given, pcm))
            except CallError as failure:
                sys.stderr.write(f"benchmarks.weather: {name}: {failure}\n")
            else:
                sys.stderr.write(table(rows[-1:]) + "\n")
    return {
        "benchmark": "weather",
        "processors": len(os.sched_getaffinity(0)),
        "cpu": process.cpu_name(),
        "rows": [asdict(row) for row in rows],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weather",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weathers", nargs="*", default=list(SKIES), choices=list(SKIES))
    parser.add_argument("--audio", type=Path, required=True, help="speech, repeated as needed")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--seconds", type=float, default=12, help="of each weather that may last")
    parser.add_argument("--server", default="run_server.py", help="what is started")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended too
    with contextlib.redirect_stderr(None) if given.json else contextlib.nullcontext():
        result = asyncio.run(bench(given))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
