"""Long-lived tasks: each has a name and an owner, and a failure is noticed.

A task that returns is done, and a cancelled one was stopped. One that raises has failed: the log
and ``/healthz`` say so, and it is restarted where that is intended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

log = logging.getLogger(__name__)

RESTART_S: Final = 1.0
Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """The tasks of one owner; ``on_death`` is called for each failure."""

    def __init__(self, on_death: Callable[[str, Exception], None] = lambda name, why: None) -> None:
        self.dead: dict[str, str] = {}  # names, and why; one that runs again is not among them
        self.restarts: Counter[str] = Counter()
        self._on_death = on_death
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Work, *, restart: bool = False) -> asyncio.Task[None]:
        """Runs ``work`` until it returns; with ``restart``, again one second after each failure."""
        task = asyncio.create_task(self._run(name, work, restart), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def close(self) -> None:
        """Cancels every task and waits until it has ended."""
        ending = list(self._running)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def finish(self) -> None:
        """Waits until every task has ended by itself."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def describe(self) -> dict[str, object]:
        """For ``/healthz``."""
        return {"dead": dict(self.dead), "restarts": dict(self.restarts)}

    async def _run(self, name: str, work: Work, restart: bool) -> None:
        while True:
            try:
                return await work()
            except Exception as failure:
                log.exception("task %s died", name)
                self.dead[name] = f"{type(failure).__name__}: {failure}"
                self._on_death(name, failure)
            if not restart:
                return None
            await asyncio.sleep(RESTART_S)
            self.restarts[name] += 1
            del self.dead[name]
