"""A worker: model, engine and peers of one process, as a Ray actor answers for them.

Knows nothing of Ray. Refusals are returned, not raised, so that they cross processes as they are.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from server.auth.quota import Quota
from server.cluster import resume
from server.cluster.local import LocalSignalling
from server.cluster.room import FAILED, WARMING, Room, Seat
from server.cluster.signalling import Asked, Order
from server.errors import ServerError
from server.observability.trace import trace
from server.push.pushes import Pushes
from server.recordings.recordings import Recordings
from server.rtc import data_channel
from server.sessions import description
from server.sessions.session import Session
from server.sessions.session_manager import SessionManager
from server.settings import Settings, of_node

log = logging.getLogger(__name__)

OpenManager = Callable[[Settings], SessionManager]
LOOK_S: Final = 1.0  # how old a room may become while nothing changes
SILENCE_S: Final = 0.05  # how often a session that is to move is asked whether it is silent
MOVE_S: Final = 5.0  # that its peers have to be called elsewhere
LENGTHS: Final = 50  # ended sessions that tell how long one lasts


class Worker:
    """Made in the running loop; ``open_manager`` loads the model on a thread."""

    def __init__(
        self, name: str, settings: Settings, secret: str, open_manager: OpenManager
    ) -> None:
        self.name, self.secret = name, secret
        self._settings, self._open_manager = of_node(settings), open_manager
        self._here: LocalSignalling | None = None
        self._problem = ""
        self._revision, self._changed = 1, asyncio.Event()
        self._began: dict[str, float] = {}
        self._lengths: deque[float] = deque(maxlen=LENGTHS)
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.create_task(self._open(), name=f"{name}/open")

    async def _open(self) -> None:
        try:
            manager = await asyncio.to_thread(self._open_manager, self._settings)
            manager.worker = self.name
            quota = Quota(self._settings.sessions_per_key)
            self._here = LocalSignalling(
                manager, quota, Recordings(None, None), Pushes(self._settings)
            )
            self._here.most_waiting = lambda: 0  # counted over the cluster, at the front
            self._here.on_changed = self._note
            await manager.open()
            manager.settled.set()
        except Exception as failure:
            log.exception("warm-up failed")
            self._problem = f"{type(failure).__name__}: {failure}"
        self._note()

    # -- requests ----------------------------------------------------------------------------

    async def ask(self, method: str, *args: Any) -> tuple[Any, ServerError | None, Room]:
        """Result or refusal of a method of ``Signalling``, and the room that is left."""
        for argument in args:
            if isinstance(argument, (Order, Asked)):
                trace.set(argument.trace)
        try:
            return await getattr(self._signalling(), method)(*args), None, self.room()
        except ServerError as refusal:
            return None, refusal, self.room()

    async def events(self, asked: Asked) -> AsyncGenerator[str | ServerError, None]:
        """``Signalling.events``; a refusal is the last one."""
        try:
            async for event in self._signalling().events(asked):
                yield event
        except ServerError as refusal:
            yield refusal

    def _signalling(self) -> LocalSignalling:
        if self._here is None:
            from server.errors import NotReady

            raise NotReady("This worker is loading the model.", retry_after_s=2)
        return self._here

    # -- room --------------------------------------------------------------------------------

    async def watch(self, seen: int) -> Room:
        """The room, once it is another one than ``seen``, or a second later."""
        if seen == self._revision:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
        return self.room()

    def room(self) -> Room:
        """This worker, now."""
        empty = Room(self.name, socket.gethostname(), os.getpid(), revision=self._revision)
        if self._here is None:
            return replace(empty, door=FAILED if self._problem else WARMING, problem=self._problem)
        manager, now = self._here.manager, time.time()
        self._count_lengths(manager)
        return replace(
            empty,
            model=self._settings.model,
            door=FAILED if self._problem else manager.slots.door.value,
            problem=self._problem,
            total=manager.slots.total,
            taken=manager.slots.taken,
            ready=manager.avatars.ready,
            seats=tuple(self._seat(session, now) for session in manager.sessions),
            counts=self._here.quota.counts(),
            mean_s=sum(self._lengths) / len(self._lengths) if self._lengths else 0.0,
        )

    def _seat(self, session: Session, now: float) -> Seat:
        assert self._here is not None
        owner = self._here.quota.owner(session.id)
        state, played = session.state.value, description.media_time(session)
        return Seat(session.id, session.options, state, played, now, owner)

    def _count_lengths(self, manager: SessionManager) -> None:
        now, running = time.monotonic(), {session.id for session in manager.sessions}
        for name in self._began.keys() - running:
            self._lengths.append(now - self._began.pop(name))
        for name in running - self._began.keys():
            self._began[name] = now

    def _note(self) -> None:
        self._revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    # -- drain -------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Admits no further sessions; moves each one at its next silence; returns when all went."""
        if self._here is None:
            return
        manager = self._here.manager
        manager.slots.drain()
        self._note()
        ends_s = time.monotonic() + self._settings.drain_s
        while sessions := manager.sessions:
            for session in sessions:
                if session.id not in self._moving:
                    work = self._move(session, ends_s)
                    self._moving[session.id] = asyncio.create_task(work, name=f"{session.id}/move")
            await asyncio.wait([self._moving[session.id] for session in sessions])

    async def _move(self, session: Session, ends_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(_silent(session), max(0.0, ends_s - time.monotonic()))
        token = resume.make(self._seat(session, time.time()), self.secret)
        session.tell(data_channel.build("session_moved", session=session.id, resume=token))
        with suppress(TimeoutError):
            await asyncio.wait_for(_left(session), MOVE_S)
        await session.end("it goes on at another worker")


async def _left(session: Session) -> None:
    """Waits until no peer is connected any more, or the session is over."""
    while True:
        await asyncio.sleep(SILENCE_S)
        if not (session.running and any(peer.connected for peer in session.participants)):
            return


async def _silent(session: Session) -> None:
    """Waits until nobody speaks in the session, or it is over."""
    while True:
        await asyncio.sleep(SILENCE_S)
        if not (session.running and (session.receiver.speaking or session.speech.busy)):
            return
