"""The engine loop: one thread that steps every stream that is due, in batches where possible.

Each round gathers due streams, steps them in one batch, and posts the frames. It wakes when audio
arrives and never polls. A failing stream ends its own session only: frames of a batch are painted
as they are taken, and raise the error of their own stream. If a whole batch raises, each stream is
stepped alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pipeline.interface import AvatarFrame, AvatarStream, BatchEngine
from server.sessions.stream_runner import StreamRunner

log = logging.getLogger(__name__)

T = TypeVar("T")
Post = Callable[[Callable[[], None]], None]


class Engine:
    """Owns the thread on which every stream lives."""

    def __init__(
        self,
        batch: BatchEngine,
        on_tick: Callable[[int, float], None],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._batch, self._now = batch, now
        self._on_tick = on_tick  # streams stepped together, seconds
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._runners: dict[StreamRunner, Callable[[float], int]] = {}
        self._wake = asyncio.Event()

    async def stop(self) -> None:
        """Ends after the step in progress; streams must have been closed before."""
        await asyncio.to_thread(self._executor.shutdown)

    async def call(self, function: Callable[[], T]) -> T:
        """Runs something on the engine's thread, between two steps."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def open(self, make: Callable[[], AvatarStream]) -> AvatarStream:
        """As ``call``, for a stream; closes it if the caller was cancelled."""
        opening = self._executor.submit(make)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._unwanted)
            raise

    def drop(self, stream: AvatarStream) -> None:
        """Closes a stream that was never added."""
        self._executor.submit(stream.close)

    def _unwanted(self, opening: Future[AvatarStream]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.drop(opening.result())

    def add(self, runner: StreamRunner, playing_in: Callable[[float], int]) -> None:
        """Steps ``runner`` from now on; ``playing_in(s)`` is what leaves in s seconds."""
        self._runners[runner] = playing_in
        self._wake.set()

    async def remove(self, runner: StreamRunner) -> None:
        """Stops stepping it and closes its stream."""
        if self._runners.pop(runner, None) is not None:
            runner.closed = True
            await self.call(runner.stream.close)

    def wake(self) -> None:
        """Audio or an order has come."""
        self._wake.set()

    async def run(self) -> None:
        """Steps until it is cancelled."""
        loop = asyncio.get_running_loop()

        def post(call: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(call)

        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._round(post):
                    pass
            except Exception:  # of no stream; what is due is tried again when audio comes
                log.exception("a round of the engine failed")

    async def _round(self, post: Post) -> int:
        """One step of all streams that are due; returns how many made frames."""
        due = [runner for runner in self._runners if runner.due]
        return await self.call(lambda: self._step(due, post)) if due else 0

    def _step(self, due: list[StreamRunner], post: Post) -> int:
        ready = [p for p in due if not p.closed and self._guard(p, partial(self._take_in, p), post)]
        started = self._now()
        for runner, made in zip(ready, self._made(ready), strict=True):
            self._guard(runner, partial(self._deliver, runner, made, post, started), post)
        if ready:
            self._on_tick(len(ready), self._now() - started)
        return len(ready)

    def _take_in(self, runner: StreamRunner) -> bool:
        playing_in = self._runners.get(runner)
        return playing_in is not None and runner.take_in(playing_in(runner.pace.generate_s))

    def _made(self, ready: list[StreamRunner]) -> list[Callable[[], Iterable[AvatarFrame]]]:
        """How to get at each one's frames."""
        alone: list[Callable[[], Iterable[AvatarFrame]]] = [p.stream.step for p in ready]
        if len(ready) < 2:
            return alone
        try:
            batch = self._batch.step([p.stream for p in ready])
            return [partial(_same, frames) for _, frames in zip(ready, batch, strict=True)]
        except Exception:
            log.exception("a batch of %d streams failed; stepping them one by one", len(ready))
            return alone

    def _deliver(
        self,
        runner: StreamRunner,
        made: Callable[[], Iterable[AvatarFrame]],
        post: Post,
        started: float,
    ) -> None:
        runner.deliver(made(), post)
        runner.pace.observe(self._now() - started)

    def _guard(self, runner: StreamRunner, work: Callable[[], T], post: Post) -> T | None:
        """What ``work`` returns; a failure ends this stream alone."""
        try:
            return work()
        except Exception as failure:
            log.exception("a stream failed")
            runner.closed = True
            post(partial(runner.on_failure, failure))
            return None


def _same(frames: Iterable[AvatarFrame]) -> Iterable[AvatarFrame]:
    return frames
