"""All workers as one front sees them: found, started, watched, asked, and missed when one dies."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from server.background.tasks import Tasks
from server.cluster import actors
from server.cluster.room import Room
from server.cluster.signalling import Asked
from server.cluster.worker import OpenManager
from server.errors import ServerError, WorkerLost
from server.settings import Settings

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two looks at who runs and who is missing


class Fleet:
    """Made in the running loop. ``on_lost`` hears the last room of a worker that has ended."""

    def __init__(self, settings: Settings, open_manager: OpenManager) -> None:
        self._settings, self._open_manager = settings, open_manager
        self.key = settings.token_secret or secrets.token_hex(32)
        self.keys = {self.key}  # that sign resume tokens, of all workers so far
        self.on_lost: Callable[[Room], None] = lambda room: None
        self.rooms: dict[str, Room] = {}
        self.own = False  # the cluster was started by this process
        self._actors: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._tasks = Tasks()

    async def open(self) -> None:
        """Joins the cluster and finds its workers; those that are missing are started.

        Raises ``ConnectionError`` where there is no such cluster.
        """
        self.own = await asyncio.to_thread(actors.join, self._settings.cluster)
        await self.look()
        self._tasks.start("workers", self._keep, restart=True)

    async def close(self) -> None:
        """Leaves the cluster; workers go on unless it was started here."""
        await self._tasks.close()
        if self.own:
            await asyncio.to_thread(actors.leave)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Finds workers that others have started, and starts those that are missing."""
        for name, actor in (await asyncio.to_thread(actors.running)).items():
            self._meet(name, actor)
        for name in await self._missing():
            about = (name, self._settings, self.key, self._open_manager)
            self._meet(name, await asyncio.to_thread(actors.start, *about))

    async def _missing(self) -> list[str]:
        """Names of workers to start: as many as are wanted; one more while slots are short, which
        waits for a machine, and so tells the autoscaler."""
        wanted = self._settings.workers or await asyncio.to_thread(actors.fit, self._settings)
        free = sum(room.free for room in self.rooms.values())
        starting = any(name not in self.rooms for name in self._actors)
        warming = not all(room.settled for room in self.rooms.values())
        if free < self._settings.spare_slots and not starting and not warming:
            wanted = max(wanted, len(self._actors) + 1)
        names = (f"w{number}" for number in range(wanted + len(self._actors)))
        return [name for name in names if name not in self._actors][: wanted - len(self._actors)]

    def _meet(self, name: str, actor: Any) -> None:
        if name not in self._actors:
            self._actors[name] = actor
            self._tasks.start(f"worker-{name}", lambda: self._watch(name, actor))

    async def _watch(self, name: str, actor: Any) -> None:
        """Hears each change of a worker's room, until it dies."""
        seen = 0
        try:
            self.keys.add(await actor.key.remote())
            while True:
                room = await actor.watch.remote(seen)
                seen = room.revision
                self._note(room)
        except Exception as failure:
            if not actors.has_died(failure):
                raise
            self._miss(name, actor)

    def _note(self, room: Room) -> None:
        known = self.rooms.get(room.worker)
        if room.worker in self._actors and (known is None or known.revision <= room.revision):
            self.rooms[room.worker] = room
            self._changed.set()

    def _miss(self, name: str, actor: Any) -> None:
        """The worker has ended; harmless when that is known."""
        if self._actors.get(name) is not actor:
            return
        del self._actors[name]
        room = self.rooms.pop(name, None)
        self._changed.set()
        if room is not None:
            log.warning("worker %s has ended, and %d sessions with it", name, len(room.seats))
            self.on_lost(room)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits until workers have said what makes ``reached`` true."""
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    async def ask(self, worker: str, method: str, *args: Any) -> Any:
        """What a worker answers. Raises its refusal, or ``WorkerLost``."""
        actor = self._actor(worker)
        try:
            answer, refusal, room = await actor.ask.remote(method, *args)
        except Exception as failure:
            if not actors.has_died(failure):
                raise
            self._miss(worker, actor)
            raise WorkerLost(f"Worker {worker} has ended.", retry_after_s=1) from failure
        self._note(room)
        if refusal is not None:
            raise refusal
        return answer

    async def drain(self, worker: str) -> None:
        """Moves a worker's sessions elsewhere, then ends its process."""
        actor = self._actor(worker)
        await actor.drain.remote()
        await asyncio.to_thread(actors.kill, actor)

    async def events(self, worker: str, asked: Asked) -> AsyncGenerator[str, None]:
        """A session's events. Raises its worker's refusal, or ``WorkerLost``."""
        actor = self._actor(worker)
        try:
            async for event in actors.streamed(actor, asked):
                if isinstance(event, ServerError):
                    raise event
                yield event
        except Exception as failure:
            if not actors.has_died(failure):
                raise
            self._miss(worker, actor)
            raise WorkerLost(f"Worker {worker} has ended.", retry_after_s=1) from failure

    def _actor(self, worker: str) -> Any:
        if worker not in self._actors:
            raise WorkerLost(f"Worker {worker[:40]} has ended.", retry_after_s=1)
        return self._actors[worker]
