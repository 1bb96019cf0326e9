"""A front: HTTP's side of a cluster. Places sessions on workers, and routes requests to them.

It keeps nothing that another front does not see as well: rooms come from the workers themselves,
and a session's id names its worker. What it remembers for two minutes is who was lost with a
worker, so that they can be called again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from server.auth.access import Caller
from server.auth.keys import KeyRole
from server.auth.quota import Claim, Quota
from server.avatars.catalog import Avatars
from server.background.tasks import Tasks
from server.cluster import resume, worker_metrics
from server.cluster.fleet import Fleet
from server.cluster.room import OPEN, Room, Seat, best, counted, retry_after_s, worker_of
from server.cluster.signalling import Answered, Asked, Made, Order
from server.consent.monitor import ConsentMonitor
from server.errors import (
    Draining,
    NoSlot,
    NotReady,
    ResumeRefused,
    ServerError,
    SessionMoved,
    Unavailable,
    UnknownSession,
    WorkerLost,
)
from server.observability.metrics import Metrics
from server.rtc import data_channel
from server.rtc.data_channel import Say
from server.rtc.sdp_offer import PeerRole
from server.settings import Settings
from server.speech.answers.conversation import Answers
from server.speech.voice import NoVoices, Voices

if TYPE_CHECKING:
    from server.recordings.recordings import Provenance

log = logging.getLogger(__name__)

ELSEWHERE: Final = (NoSlot, Draining, NotReady, WorkerLost)  # refusals that another may not have
NOBODY: Final = "There is no such session, or it has ended."


class Front:
    """Made in the running loop. Satisfies ``Backend`` and ``Signalling``."""

    def __init__(
        self, settings: Settings, avatars: Avatars, fleet: Fleet, monitor: ConsentMonitor | None
    ) -> None:
        self.settings, self.avatars, self.monitor = settings, avatars, monitor
        self.voices: Voices = NoVoices()
        self.answers, self.tasks = Answers(), Tasks()
        self.provenance: Provenance | None = None
        self.problem: str | None = None
        self.stage = "waiting for a worker to be ready"
        self.settled = asyncio.Event()
        self.metrics_here = Metrics()
        self._fleet, self._draining = fleet, False
        self._quota = Quota(settings.sessions_per_key)  # of sessions that are being placed
        self._moved: dict[str, tuple[Seat, float]] = {}
        fleet.on_lost = self._lost

    # -- life --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Joins the cluster, and waits until a worker is ready, or has failed to be."""
        await self.avatars.load()
        await self.voices.open()
        await self._fleet.open()
        if (monitor := self.monitor) is not None:
            watch = lambda: monitor.watch(list, self.renew)  # noqa: E731
            self.tasks.start("consent", watch, restart=True)
        await self._fleet.until(lambda: any(room.settled for room in self.rooms))
        if not any(room.door == OPEN for room in self.rooms):
            self.problem = next(room.problem for room in self.rooms if room.settled)

    async def renew(self) -> None:
        """Reads the avatars again; each worker hears of it by itself."""
        await self.avatars.load()

    async def drain(self) -> None:
        """Places no further sessions. Those that run go on, unless the cluster ends with us."""
        self._draining = True
        if self._fleet.own:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._fleet.until(self._nobody), self.settings.drain_s)

    async def close(self) -> None:
        """Leaves the cluster."""
        await self.tasks.close()
        await self._fleet.close()
        await self.voices.close()
        await asyncio.to_thread(self.avatars.close)
        if self.monitor is not None:
            await asyncio.to_thread(self.monitor.close)

    @property
    def rooms(self) -> list[Room]:
        """Every worker, as it said last."""
        return list(self._fleet.rooms.values())

    def check(self) -> None:
        """Raises ``Draining``, ``NotReady`` or ``RegistryDown`` unless sessions are admitted."""
        if self._draining:
            raise Draining("This server is shutting down; ask another one.", retry_after_s=10)
        if not any(room.door == OPEN for room in self.rooms):
            raise NotReady("No worker is ready yet. Try again in a few seconds.", retry_after_s=2)
        if self.monitor is not None:
            self.monitor.check()

    def _lost(self, room: Room) -> None:
        now = time.monotonic()
        self._moved = {k: v for k, v in self._moved.items() if now - v[1] < resume.LIFE_S}
        self._moved.update((seat.id, (seat, now)) for seat in room.seats)

    def _nobody(self) -> bool:
        return not self.sessions

    # -- placement ---------------------------------------------------------------------------

    async def create(self, order: Order) -> Made:
        """A session without peers."""
        made: Made = await self._placed(order, "create")
        return made

    async def call(self, order: Order, sdp: str) -> Answered:
        """A session and its caller."""
        answered: Answered = await self._placed(order, "call", sdp)
        return answered

    async def _placed(self, order: Order, method: str, *args: Any) -> Any:
        """Asks the workers that have room, the best one first, until one takes the session.

        A worker takes a slot in one step of its loop: of two fronts, one gets the last slot.
        """
        moved = self._resumed(order) if order.resume else None
        order = moved or order
        self.avatars.card(order.options.avatar)
        self.check()
        claim = None if moved else self._claim(order)  # what has moved is counted already
        refused, why = set[str](), ""
        try:
            while name := best(self.rooms, order.options.avatar, refused):
                try:
                    return await self._fleet.ask(name, method, order, *args)
                except ELSEWHERE as refusal:
                    refused.add(name)
                    why = refusal.detail
        finally:
            if claim is not None:
                claim.give_back()
        self.metrics_here.refused.inc()
        total, wait_s = sum(room.total for room in self.rooms), retry_after_s(self.rooms)
        text = f"All {total} slots of {len(self.rooms)} workers are taken. {why}".strip()
        raise NoSlot(text, retry_after_s=wait_s, slots=total)

    def _resumed(self, order: Order) -> Order:
        """What is to go on. Raises ``ResumeRefused``, also where it goes on already."""
        options = resume.read(order.resume, self._fleet.keys)
        if any(seat.options.before == options.before for _, seat in self.sessions):
            raise ResumeRefused("This session has been called again already.")
        return replace(order, options=options, resume="")

    def _claim(self, order: Order) -> Claim:
        """Counts a session over the whole cluster, those aside that other fronts place now."""
        total = sum(room.total for room in self.rooms)
        full = not any(room.free for room in self.rooms)
        waiting = 0 if full else self.settings.waiting_per_client or max(1, total - 1)
        with self._quota.beside(counted(self.rooms)):
            return self._quota.take(order.caller, order.address, waiting)

    # -- requests about a session ------------------------------------------------------------

    async def _asked(self, asked: Asked, method: str, *args: Any) -> Any:
        worker = self._worker(asked.session)
        try:
            return await self._fleet.ask(worker, method, asked, *args)
        except WorkerLost:
            self._worker(asked.session)  # says where it goes on, if it does
            raise

    def _worker(self, session: str) -> str:
        """Raises ``SessionMoved`` with the token to go on by, or ``UnknownSession``."""
        if session in self._moved:
            raise self._moved_problem(self._moved[session][0])
        worker = worker_of(session)
        if worker not in self._fleet.rooms:
            raise UnknownSession(NOBODY)
        return worker

    def _moved_problem(self, seat: Seat) -> SessionMoved:
        token = resume.make(seat, self._fleet.key)
        text = "The worker of this session has ended. Call again: POST /v1/calls?resume=TOKEN."
        return SessionMoved(text, resume=token, avatar=seat.options.avatar)

    async def check_session(self, asked: Asked) -> None:
        """Whether the session is there, and is the asker's."""
        await self._asked(asked, "check_session")

    async def offer(self, asked: Asked, role: PeerRole, sdp: str) -> Answered:
        """A peer joins."""
        answered: Answered = await self._asked(asked, "offer", role, sdp)
        return answered

    async def trickle(self, asked: Asked, role: PeerRole | None, peer: str, fragment: str) -> None:
        """A peer's candidates."""
        await self._asked(asked, "trickle", role, peer, fragment)

    async def leave(self, asked: Asked, role: PeerRole, peer: str) -> None:
        """A peer goes."""
        await self._asked(asked, "leave", role, peer)

    async def delete(self, asked: Asked) -> None:
        """Ends the session."""
        await self._asked(asked, "delete")

    async def stats(self, asked: Asked) -> dict[str, Any]:
        """The session now."""
        stats: dict[str, Any] = await self._asked(asked, "stats")
        return {**stats, "worker": worker_of(asked.session)}

    async def say(self, asked: Asked, text: Say, wait: bool) -> dict[str, Any]:
        """A text to be spoken."""
        spoken: dict[str, Any] = await self._asked(asked, "say", text, wait)
        return spoken

    async def events(self, asked: Asked) -> AsyncGenerator[str, None]:
        """Events until the session is over; ``session_moved`` is the last when its worker died."""
        try:
            async for event in self._fleet.events(self._worker(asked.session), asked):
                yield event
        except WorkerLost:
            try:
                self._worker(asked.session)
            except SessionMoved as moved:
                about = {"session": asked.session, "resume": moved.extra["resume"]}
                yield data_channel.build("session_moved", **about)
                return
            raise

    # -- all of them -------------------------------------------------------------------------

    @property
    def sessions(self) -> list[tuple[str, Seat]]:
        return [(room.worker, seat) for room in self.rooms for seat in room.seats]

    async def listing(self, caller: Caller) -> list[dict[str, Any]]:
        """Running sessions that the caller may open."""
        sees_all = caller.role is KeyRole.OPERATOR
        return [
            seat.describe(worker)
            for worker, seat in self.sessions
            if sees_all or (caller.key and seat.owner == caller.key)
        ]

    async def owners(self) -> Mapping[str, str]:
        """The key behind each session."""
        return {seat.id: seat.owner for _, seat in self.sessions}

    async def end(self, session: str, why: str) -> None:
        """Ends a session soon."""
        try:
            await self._fleet.ask(worker_of(session), "end", session, why)
        except WorkerLost:
            log.info("it ended with its worker", extra={"session": session})

    async def health(self) -> dict[str, Any]:
        """For ``/healthz``: the model is that of one worker."""
        shown = [worker_metrics.row(room) for room in self.rooms]
        total, taken = (sum(getattr(r, name) for r in self.rooms) for name in ("total", "taken"))
        registry = self.monitor.problem if self.monitor else ""
        broken = self.problem or next((room.problem for room in self.rooms if room.problem), None)
        status = "failed" if self.problem or self.tasks.dead else "ok"
        if status == "ok" and (registry or broken or not total):
            status = "degraded"
        return {
            "model": {}, "cost_ms": None, "quality_level": 0, "h264": {},
            **await self._one_health(),
            "status": status,
            "problem": broken,
            "tasks": self.tasks.describe(),
            "registry": registry,
            "door": "draining" if self._draining else "open" if total else "warming",
            "slots": {"total": total, "taken": taken},
            "workers": shown,
        }  # fmt: skip

    async def _one_health(self) -> dict[str, Any]:
        for room in self.rooms:
            try:
                found: dict[str, Any] = await self._fleet.ask(room.worker, "health")
            except ServerError:
                continue
            return found
        return {}

    async def ready(self) -> int:
        """How many sessions fit."""
        if self.problem is not None:
            raise NotReady(f"The cluster cannot be joined: {self.problem}", retry_after_s=30)
        self.check()
        return sum(room.total for room in self.rooms)

    async def metrics(self) -> bytes:
        """Prometheus text: every worker's, labelled with its name, and the cluster's own."""
        texts = {}
        for room in self.rooms:
            try:
                texts[room.worker] = await self._fleet.ask(room.worker, "metrics")
            except Unavailable:
                continue
        return worker_metrics.joined(texts, self.rooms)
