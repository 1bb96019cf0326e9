"""Streams that are stepped together: what one of them does to the others, which is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from server.media.playout import FinishedFrame
from server.sessions.engine import Engine
from server.sessions.stream_runner import StreamRunner
from tests.fakes_server import Behaviour, FakeEngine, FakeStream

STEP = 2 * 640
NEED = STEP + 640


class Broken(RuntimeError):
    """What a test breaks."""


def fail(*_: object, **__: object) -> None:
    raise Broken


class Party:
    """Three performers of one engine, and what became of each."""

    def __init__(self) -> None:
        self.batch = FakeEngine()
        self.ticks: list[int] = []
        self.engine = Engine(self.batch, lambda streams, seconds: self.ticks.append(streams))
        self.shots: list[list[int]] = [[], [], []]
        self.failures: dict[int, Exception] = {}
        self.runners = [self._runner(i) for i in range(3)]

    def _runner(self, i: int) -> StreamRunner:
        def shown(shot: FinishedFrame) -> None:
            self.shots[i].append(shot.index)

        def failed(failure: Exception) -> None:
            self.failures[i] = failure

        return StreamRunner(FakeStream(16, Behaviour()), shown, failed)

    async def hear(self, samples: int = STEP) -> None:
        """Everybody hears, and the engine steps until nobody is due."""
        for runner in self.runners:
            if not runner.closed:
                runner.hear(np.zeros(samples, np.float32))
        self.engine.wake()
        while any(runner.due for runner in self.runners):
            await self.engine.call(lambda: None)
        await self.engine.call(lambda: None)
        await asyncio.sleep(0)


@asynccontextmanager
async def party() -> AsyncIterator[Party]:
    made = Party()
    for runner in made.runners:
        made.engine.add(runner, lambda seconds: 0)
    running = asyncio.create_task(made.engine.run())
    try:
        await made.hear(NEED)
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await made.engine.stop()


def _break(stage: str, runner: StreamRunner, patch: pytest.MonkeyPatch) -> None:
    stream: Any = runner.stream
    if stage in ("push", "skip", "step"):
        patch.setattr(stream, stage, fail)
    elif stage == "set_prompt":
        patch.setattr(stream, stage, fail)
        runner.set_prompt("x")
    elif stage == "interrupt":
        patch.setattr(stream, stage, fail)
        runner.interrupt()
    elif stage == "paint":
        patch.setattr(stream, "_draw", fail)
    elif stage == "convert":
        patch.setattr(runner, "_convert", fail)
    else:
        patch.setattr(runner, "_mark", fail)


STAGES = ("push", "set_prompt", "interrupt", "step", "paint", "mark", "convert")


@pytest.mark.parametrize("stage", STAGES)
async def test_a_stream_that_fails_at_any_stage_ends_alone(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with party() as made:
        assert made.shots == [[0, 1]] * 3 and made.ticks == [3]
        _break(stage, made.runners[1], monkeypatch)
        for _ in range(3):
            await made.hear()
        assert isinstance(made.failures.pop(1), Broken) and made.failures == {}
        assert made.runners[1].closed and not made.runners[1].due
        for i in (0, 2):
            assert made.shots[i] == list(range(8)), "no tick is lost, and none comes twice"


async def test_a_batch_that_fails_as_a_whole_costs_nobody_a_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party() as made:
        monkeypatch.setattr(made.batch, "step", fail)
        await made.hear()
        assert made.shots == [[0, 1, 2, 3]] * 3 and made.failures == {}


async def test_a_batch_that_forgets_a_stream_is_one_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party() as made:
        monkeypatch.setattr(made.batch, "step", lambda streams: [])
        await made.hear()
        assert made.shots == [[0, 1, 2, 3]] * 3 and made.failures == {}


async def test_the_engine_outlives_what_fails_outside_of_streams() -> None:
    async with party() as made:
        plain: Callable[[int, float], None] = made.engine._on_tick
        made.engine._on_tick = fail  # type: ignore[assignment]
        await made.hear()
        made.engine._on_tick = plain
        await made.hear()
        assert made.shots == [list(range(6))] * 3


async def test_frames_are_posted_as_they_are_painted() -> None:
    """A batch doesn't hold back its first frame until its last one is painted."""
    async with party() as made:
        order: list[str] = []
        for name, runner in zip("ab", made.runners, strict=False):
            stream: Any = runner.stream
            inner = stream._draw

            def draw(at: int, loud: float, name: str = name, inner: Any = inner) -> Any:
                order.append(f"paint {name}")
                return inner(at, loud)

            stream._draw = draw
            runner._convert = lambda image, scale, name=name: order.append(f"post {name}")  # type: ignore[assignment,misc]
        await made.hear()
        assert order == ["paint a", "post a"] * 2 + ["paint b", "post b"] * 2


async def test_how_long_a_step_takes_counts_from_the_beginning_of_its_tick() -> None:
    clock: Iterator[float] = iter(range(1000))
    engine = Engine(FakeEngine(), lambda streams, seconds: None, lambda: float(next(clock)))
    runners = [
        StreamRunner(FakeStream(16, Behaviour()), lambda shot: None, lambda failure: None)
        for _ in range(2)
    ]
    for runner in runners:
        engine.add(runner, lambda seconds: 0)
        runner.hear(np.zeros(NEED, np.float32))
    await engine._round(lambda call: call())
    first, second = (runner.pace.worst_s for runner in runners)
    assert (first, second) == (1.0, 2.0)
    await engine.stop()
