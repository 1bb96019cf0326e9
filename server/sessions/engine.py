"""The engine loop: one thread that steps every stream that is due, together where it can.

Three verbs: gather who is due, step them in one batch, post what they made. It wakes when
audio has come; it never polls. A stream that fails, at whichever stage, ends its own session and no
other: a batch answers with frames that are painted as they are taken, and raise what went wrong
with their stream. A batch that raises has made nothing; then each stream is stepped alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from server.sessions.stream_runner import Frame, Performer, Stream

log = logging.getLogger(__name__)

T = TypeVar("T")
Post = Callable[[Callable[[], None]], None]


class BatchEngine(Protocol):
    """``pipeline.models.mini.pipeline``."""

    def step(self, streams: Sequence[Stream]) -> Sequence[Iterable[Frame]]: ...


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
        self._performers: dict[Performer, Callable[[float], int]] = {}
        self._wake = asyncio.Event()

    async def stop(self) -> None:
        """Ends after the step in progress; streams must have been closed before."""
        await asyncio.to_thread(self._executor.shutdown)

    async def call(self, function: Callable[[], T]) -> T:
        """Runs something on the engine's thread, between two steps."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def open(self, make: Callable[[], Stream]) -> Stream:
        """As ``call``, for a stream: it is closed where nobody waits for it any more."""
        opening = self._executor.submit(make)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._unwanted)
            raise

    def drop(self, stream: Stream) -> None:
        """Closes a stream that was never added."""
        self._executor.submit(stream.close)

    def _unwanted(self, opening: Future[Stream]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.drop(opening.result())

    def add(self, performer: Performer, playing_in: Callable[[float], int]) -> None:
        """Steps ``performer`` from now on; ``playing_in(s)`` is what leaves in s seconds."""
        self._performers[performer] = playing_in
        self._wake.set()

    async def remove(self, performer: Performer) -> None:
        """Stops stepping it and closes its stream."""
        if self._performers.pop(performer, None) is not None:
            performer.closed = True
            await self.call(performer.stream.close)

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
        """One step of everybody who is due; returns how many made something."""
        due = [performer for performer in self._performers if performer.due]
        return await self.call(lambda: self._step(due, post)) if due else 0

    def _step(self, due: list[Performer], post: Post) -> int:
        ready = [p for p in due if not p.closed and self._guard(p, partial(self._take_in, p), post)]
        started = self._now()
        for performer, made in zip(ready, self._made(ready), strict=True):
            self._guard(performer, partial(self._deliver, performer, made, post, started), post)
        if ready:
            self._on_tick(len(ready), self._now() - started)
        return len(ready)

    def _take_in(self, performer: Performer) -> bool:
        playing_in = self._performers.get(performer)
        return playing_in is not None and performer.take_in(playing_in(performer.pace.generate_s))

    def _made(self, ready: list[Performer]) -> list[Callable[[], Iterable[Frame]]]:
        """How to get at each one's frames."""
        alone: list[Callable[[], Iterable[Frame]]] = [p.stream.step for p in ready]
        if len(ready) < 2:
            return alone
        try:
            batch = self._batch.step([p.stream for p in ready])
            return [partial(_same, frames) for _, frames in zip(ready, batch, strict=True)]
        except Exception:
            log.exception("a batch of %d streams failed; stepping them one by one", len(ready))
            return alone

    def _deliver(
        self, performer: Performer, made: Callable[[], Iterable[Frame]], post: Post, started: float
    ) -> None:
        performer.deliver(made(), post)
        performer.pace.observe(self._now() - started)

    def _guard(self, performer: Performer, work: Callable[[], T], post: Post) -> T | None:
        """What ``work`` returns; a failure ends this performer alone."""
        try:
            return work()
        except Exception as failure:
            log.exception("a stream failed")
            performer.closed = True
            post(partial(performer.on_failure, failure))
            return None


def _same(frames: Iterable[Frame]) -> Iterable[Frame]:
    return frames
