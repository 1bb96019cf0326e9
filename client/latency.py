"""``python -m client.latency``: how late, how smooth and how well in sync a server answers.

Two calls with the same sound. In the first the server writes into each picture which audio it
shows (docs/protocol.md, section 7); the caller knows when that audio was at its microphone, so the
20 ms of packing, coding and both ways through the network are in the figure. It ends with an
interrupt. The second has no strip: from each sentence's onset to the first motion of the mouth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from client import budgets, onsets, plots, report, voice
from client.caller import Caller, read_key
from client.errors import CallError
from client.microphone import RATE, Microphone, Pcm, read
from client.receive import Sound
from client.trace import Observer, Trace

INTERRUPT_S: Final = 2.0
AUDIBLE: Final = 150.0  # RMS; Opus leaves less of silence


@dataclass(frozen=True, slots=True)
class Run:
    """One call, over."""

    call: Caller
    trace: Trace
    interrupt: dict[str, float | None]

    @property
    def began_s(self) -> float:
        """When the microphone's first sample was captured."""
        return self.call.microphone.captured_s(0)


async def run(url: str, avatar: str, pcm: Pcm, seconds: float, measure: bool, key: str = "") -> Run:
    """One call of ``seconds``. Raises ``CallError``."""
    async with Caller(url, Microphone(pcm, repeat=True), key) as call:
        observer = Observer(call)
        await call.start(avatar, measure="1" if measure else "0")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(call.ended.wait(), seconds)
        stopped: dict[str, float | None] = {}
        if measure and not call.ended.is_set():
            stopped = await interrupt(call, observer.trace)
        await call.hang_up()
        return Run(call, observer.trace, stopped)


async def interrupt(call: Caller, trace: Trace) -> dict[str, float | None]:
    """Interrupts in the middle of speech and falls silent; ms to the last sound and to ``idle``."""
    call.on_picture = lambda picture: None  # what a silent microphone shows is not the run's
    events = len(call.events)
    await until_audible(trace)
    asked = time.monotonic()
    call.microphone.hush()
    call.say(type="interrupt")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(call.ended.wait(), INTERRUPT_S)
    after = [s.arrived_s for s in trace.heard if s.arrived_s > asked and audible(s)]
    idle = [at for at, event in call.events[events:] if event["type"] == "idle" and at > asked]
    return {
        "silence_ms": round((max(after, default=asked) - asked) * 1000 + 20, 1),
        "idle_ms": round((idle[0] - asked) * 1000, 1) if idle else None,
    }


async def until_audible(trace: Trace) -> None:
    """Waits until the avatar is heard, for some seconds at most."""
    for _ in range(250):
        if trace.heard and audible(trace.heard[-1]):
            return
        await asyncio.sleep(0.02)


def audible(sound: Sound) -> bool:
    """Whether there is more than silence in a packet."""
    return float(np.sqrt(np.mean(sound.pcm.astype(np.float64) ** 2))) > AUDIBLE


def measured(
    done: Run,
) -> tuple[dict[str, Any], tuple[report.Series, report.Series], report.Offsets]:
    """The first call's figures, and the series behind them."""
    call, trace, began_s = done.call, done.trace, done.began_s
    late = report.latencies(trace.seen, began_s)
    sent = call.microphone.spoken(0, call.microphone.position)
    echoes = voice.echoes(trace.heard, sent, lambda at_s: int((at_s - began_s) * RATE))
    clocks = call.lines["video"].clock, call.lines["audio"].clock
    apart = report.offsets(trace, echoes, *clocks, began_s)
    first = trace.seen[0].decoded_s - call.connected_s if trace.seen else None
    rate = report.frame_rate(call.events)
    figures = {
        "session": call.session.rsplit("/", 1)[-1],
        "size": list(trace.size),
        "latency_ms": report.spread(late[1]),
        "latency_drift_ms_per_hour": report.drift_per_hour(*late),
        "first_frame_ms": None if first is None else round(max(0.0, first) * 1000, 1),
        "connect_ms": round((call.connected_s - call.asked_s) * 1000, 1),
        "offset_ms": {
            "by_clock": report.spread(np.abs(apart.by_clock)),
            "by_arrival": report.spread(np.abs(apart.by_arrival)),
            "mean": round(float(apart.by_clock.mean()), 2) if len(apart.by_clock) else None,
            "drift_ms_per_hour": report.drift_per_hour(apart.at_s, apart.by_clock),
            "windows": len(echoes),
        },
        "frame_rate": rate,
        "smoothness": report.smoothness(trace.seen, rate),
        "video_kbps": report.bitrates(trace.seen),
        "stages_ms": report.stages(call.events),
        "lost_packets": sum(line.assembly.lost for line in call.lines.values()),
        "interrupt": done.interrupt,
    }
    return figures, late, apart


def onset_figure(done: Run, latency_s: float) -> dict[str, float] | None:
    """The second call's figure."""
    microphone = done.call.microphone
    sent = microphone.spoken(0, microphone.position)
    late = onsets.delays(done.trace.seen, sent, done.began_s, latency_s)
    return report.spread([delay * 1000 for delay in late])


async def benchmark(given: argparse.Namespace) -> dict[str, Any]:
    """Both calls; writes the plot. Raises ``CallError``."""
    pcm = await asyncio.to_thread(read, given.audio)
    key = read_key(given.key)
    first = await run(given.url, given.avatar, pcm, given.seconds, measure=True, key=key)
    figures, late, apart = measured(first)
    result: dict[str, Any] = {
        "url": given.url,
        "avatar": given.avatar,
        "audio": given.audio.name,
        "seconds": given.seconds,
        "processors": len(os.sched_getaffinity(0)),
        **figures,
    }
    if given.onset_seconds > 0:
        second = await run(given.url, given.avatar, pcm, given.onset_seconds, False, key)
        typical = (figures["latency_ms"] or {"p50": 250.0})["p50"] / 1000
        result["onset_ms"] = onset_figure(second, typical)
    if given.plot:
        title = f"{given.avatar}, {given.seconds:g} s, {given.url}"
        await asyncio.to_thread(plots.save, given.plot, late, apart, first.trace.seen, title)
    lines = budgets.check(result)
    result["budgets"] = {line.budget.name: line.verdict for line in lines}
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """0 when it was measured, 1 with ``--check`` when a budget was missed, 2 without a call."""
    given = _parser().parse_args(argv)
    try:
        result = asyncio.run(benchmark(given))
    except CallError as failure:
        sys.stderr.write(f"client.latency: {failure}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    text = json.dumps(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    lines = budgets.check(result)
    print(budgets.table(lines))
    print(text)
    missed = any(line.verdict != "met" for line in lines)
    return 1 if given.check and missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m client.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", required=True, help="the server, such as http://localhost:8080")
    parser.add_argument("--avatar", required=True, help="who is called")
    parser.add_argument("--audio", required=True, type=Path, help="speech, repeated as needed")
    parser.add_argument("--seconds", type=float, default=60, help="of the measured call")
    parser.add_argument("--onset-seconds", type=float, default=20, help="of the second; 0: none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the result")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draws it")
    parser.add_argument("--key", type=Path, metavar="FILE", help="file with an API key")
    parser.add_argument("--check", action="store_true", help="exit 1 unless every budget is met")
    return parser


if __name__ == "__main__":
    sys.exit(main())
