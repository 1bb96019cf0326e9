"""``python -m benchmarks.fuzz``: feeds every target with what nobody meant to send, and counts.

Inputs are drawn by hypothesis: whole ones, mutated ones (bytes changed, cut, doubled, spliced) and
pure noise. A target may refuse with its own errors; anything else that it raises, every answer of
500 or more, and growth of memory are findings. ``--target`` names single ones, ``--inputs`` is the
sum over all of them; the same ``--seed`` gives the same inputs. Exit status 1 when something was
found.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st

from benchmarks.fuzz import data_channel, http
from benchmarks.fuzz.targets import TARGETS, Target
from benchmarks.process import footprint

BATCH: Final = 200  # draws; hypothesis remembers what it drew, a fresh run forgets it
BUNCH: Final = 16  # inputs of one draw: drawing takes longer than most targets do
NOISE: Final = 400
ALL: Final[list[Target]] = [*TARGETS, *http.TARGETS, data_channel.TARGET]


@dataclass(slots=True)
class Report:
    """What came of one target."""

    target: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    unhandled: int = 0
    server_errors: int = 0
    seconds: float = 0.0
    grown_mb: float = 0.0  # of the process behind it, after the first tenth
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether something is to be mended."""
        return bool(self.unhandled or self.server_errors)


def mutated(seeds: Sequence[bytes], tokens: Sequence[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Bunches of inputs near to a seed, and some far from everything."""

    @st.composite
    def bunch(draw: st.DrawFn) -> list[bytes]:
        whole = draw(st.sampled_from(seeds))
        chance = random.Random(draw(st.integers(0, 2**63)))
        noise = [draw(st.binary(max_size=NOISE)), chance.randbytes(chance.randrange(NOISE))]
        return noise + [_near(whole, chance, tokens) for _ in range(BUNCH - len(noise))]

    return bunch()


def _near(whole: bytes, chance: random.Random, tokens: Sequence[bytes]) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6, 20))):
        _mutate(data, chance, tokens)
    return bytes(data)


def _mutate(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    until = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 200)))
    act = chance.randrange(6)
    if act == 0 and at < len(data):
        data[at] = chance.randrange(256)
    elif act == 1:
        del data[at:until]
    elif act == 2:
        data[at:at] = data[at:until] * chance.choice((1, 2, 50))
    elif act == 3:
        data[at:until] = chance.choice(tokens)
    elif act == 4:
        del data[at:]
    else:
        data[at:at] = chance.choice(tokens)


def drive(target: Target, inputs: int, first: int) -> Report:
    """Feeds one target."""
    report = Report(target.name)
    began, tenth, early = time.perf_counter(), max(1, inputs // 10), 0.0
    with target:
        while report.inputs < inputs:
            wanted = (tenth if not early else inputs) - report.inputs
            _batch(target, report, min(BATCH, -(-wanted // BUNCH)), first + report.inputs)
            gc.collect()
            if not early:
                early = memory_mb(target.pid)
        report.grown_mb = round(memory_mb(target.pid) - early, 1)
        complaints = target.complaints()
        report.unhandled += len(complaints)
        report.findings += complaints[:3]
        report.taken = report.kinds["taken"]
        report.refused = report.inputs - report.taken - report.unhandled - report.server_errors
    report.seconds = round(time.perf_counter() - began, 1)
    return report


def memory_mb(pid: int) -> float:
    """What a process holds. Of our own, what malloc keeps for later is given back first: it
    swings by tens of megabytes with the last picture's size."""
    if pid == os.getpid():
        ctypes.CDLL(None).malloc_trim(0)
    return footprint(pid).memory_mb


def _batch(target: Target, report: Report, count: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(target.seeds, target.tokens))
    def feed(bunch: list[bytes]) -> None:
        for data in bunch:
            report.inputs += 1
            _one(target.feed, data, report)

    before = report.inputs
    feed()
    if report.inputs == before:
        raise RuntimeError(f"no input was drawn for {target.name}")


def _one(feed: Callable[[bytes], str], data: bytes, report: Report) -> None:
    try:
        kind = feed(data)
    except Exception as failure:  # this is what we are looking for
        report.unhandled += 1
        kind = f"unhandled {type(failure).__name__}"
        if report.kinds[kind] < 3:
            report.findings.append(f"{data[:200]!r}\n{traceback.format_exc()}")
    if kind.startswith("5"):
        report.server_errors += 1
        if report.kinds[kind] < 3:
            report.findings.append(f"{kind}: {data[:400]!r}")
    report.kinds[kind] += 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    targets = {target.name: target for target in ALL}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="over all targets")
    parser.add_argument("--target", action="append", choices=sorted(targets), help="only this one")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    given_ = parser.parse_args(argv)
    chosen = [targets[name] for name in given_.target or targets]
    whole = sum(target.weight for target in chosen)
    reports = []
    for target in chosen:
        count = max(20, given_.inputs * target.weight // whole)
        reports.append(drive(target, count, given_.seed * 1_000_000))
        if not given_.json:
            _show(reports[-1])
    print(json.dumps([_plain(report) for report in reports]))
    return 1 if any(report.found for report in reports) else 0


def _show(report: Report) -> None:
    print(
        f"{report.target:<10} {report.inputs:>8} inputs, {report.taken:>7} taken,"
        f" {report.refused:>7} refused, {report.unhandled} unhandled,"
        f" {report.server_errors} x 500, {report.grown_mb:+.1f} MB, {report.seconds:.0f} s"
    )
    for finding in report.findings:
        print(finding)


def _plain(report: Report) -> dict[str, Any]:
    return {**asdict(report), "kinds": dict(report.kinds), "findings": len(report.findings)}


if __name__ == "__main__":
    sys.exit(main())
