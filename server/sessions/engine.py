"""The engine loop: one thread that steps every stream that is due, together where it can.

Three verbs: gather who is due, step them in one batch, post what they made. It wakes when
audio has come; it never polls. A stream that fails ends its own session and no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from server.sessions.stream_runner import Frame, Performer, Stream

log = logging.getLogger(__name__)

T = TypeVar("T")


class BatchEngine(Protocol):
    """``pipeline.models.mini.pipeline``."""

    def step(self, streams: Sequence[Stream]) -> Sequence[Iterable[Frame]]: ...


class Engine:
    """Owns the thread on which every stream lives."""

    def __init__(self, batch: BatchEngine, on_tick: Callable[[int, float], None]) -> None:
        self._batch = batch
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
            while await self._round(post):
                pass

    async def _round(self, post: Callable[[Callable[[], None]], None]) -> int:
        """One step of everybody who is due; returns how many made something."""
        due = [performer for performer in self._performers if performer.due]
        return await self.call(lambda: self._step(due, post)) if due else 0

    def _step(self, due: list[Performer], post: Callable[[Callable[[], None]], None]) -> int:
        ready = [p for p in due if not p.closed and self._guard(p, self._take_in, p, post=post)]
        started = time.perf_counter()
        if len(ready) == 1:
            self._guard(ready[0], ready[0].deliver, ready[0].stream.step(), post, post=post)
        elif ready:
            self._step_together(ready, post)
        if ready:
            self._on_tick(len(ready), time.perf_counter() - started)
        return len(ready)

    def _take_in(self, performer: Performer) -> bool:
        playing_in = self._performers.get(performer)
        return playing_in is not None and performer.take_in(playing_in(performer.pace.generate_s))

    def _step_together(
        self, ready: list[Performer], post: Callable[[Callable[[], None]], None]
    ) -> None:
        try:
            made = self._batch.step([p.stream for p in ready])
        except Exception:
            log.exception("a batch of %d streams failed; stepping them one by one", len(ready))
            made = [p.stream.step() for p in ready]
        for performer, frames in zip(ready, made, strict=True):
            self._guard(performer, performer.deliver, frames, post, post=post)

    def _guard(
        self,
        performer: Performer,
        function: Callable[..., T],
        *arguments: object,
        post: Callable[[Callable[[], None]], None],
    ) -> T | None:
        """Calls ``function``; a failure ends this performer alone."""
        try:
            return function(*arguments)
        except Exception as failure:
            log.exception("a stream failed")
            performer.closed = True
            post(lambda failure=failure: performer.on_failure(failure))  # type: ignore[misc]
            return None
