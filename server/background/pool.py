"""A bounded thread pool for one kind of slow work.

The event loop's default executor stays free for short, urgent work: a new call's grant must not
wait behind a dozen uploads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.errors import Unavailable

T = TypeVar("T")


class Pool:
    """So many ``threads``, and so many calls that may be ``waiting`` for one; more are refused."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.Semaphore(threads + waiting)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """``function(*arguments)`` on a thread. Raises ``Unavailable`` when too many wait.

        A cancelled caller stops waiting; running work continues and keeps its place.
        """
        if not self._room.acquire(blocking=False):
            raise Unavailable(f"Too many {self._name} at once. Try again in a moment.", 2)
        work = self._executor.submit(function, *arguments)
        work.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(work)

    async def close(self) -> None:
        """Forgets what waits, and waits for what runs."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
