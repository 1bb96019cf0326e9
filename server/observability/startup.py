"""What is said while a server starts: how far it is, and its address once calls are admitted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, Self

from server.background.tasks import Tasks

log = logging.getLogger(__name__)

EVERY_S: Final = 4.0


class Starting(Protocol):
    """What serves, while it warms up."""

    settled: asyncio.Event
    problem: str | None
    stage: str


class Start:
    """Made in the running loop as the server starts; ``announce`` is called with its URL."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._tasks = Tasks()
        self._manager: Starting | None = None
        self._ticking = self._tasks.start("progress", self._tick)

    def listens(self, manager: Starting, url: str) -> None:
        """The port is open and warm-up goes on; the URL is announced when it has ended."""
        self._manager = manager
        self._tasks.start("announcement", partial(self._wait, manager, url))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._tasks.close()

    async def _wait(self, manager: Starting, url: str) -> None:
        await manager.settled.wait()
        self._ticking.cancel()
        if manager.problem is None:
            self._announce(url)
        else:
            log.error("no calls are admitted: %s; see %shealthz", manager.problem, url)

    async def _tick(self) -> None:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(EVERY_S)
            stage = self._manager.stage if self._manager else "loading the model"
            log.info("starting, %.0f s: %s", time.monotonic() - begun, stage)
