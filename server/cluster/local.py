"""Sessions of this process: the session manager behind the interface of ``signalling``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from server.auth import session_tokens
from server.auth.access import Caller
from server.auth.quota import Quota
from server.cluster.signalling import Answered, Asked, Made, Order
from server.errors import Forbidden, NotReady, ResumeRefused, UnknownPeer
from server.push.pushes import Pushes
from server.recordings.recordings import Recordings
from server.rtc import ice, sdp_offer
from server.rtc.data_channel import Say
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole
from server.sessions import description, signaling
from server.sessions.session import Session
from server.sessions.session_manager import SessionManager
from server.speech.utterance import RATE, Utterance

UNREAD: Final = 1024  # events that a slow reader may leave; then it reads no further


class LocalSignalling:
    """Who may do what with the manager's sessions, and how many each may have."""

    def __init__(
        self, manager: SessionManager, quota: Quota, recordings: Recordings, pushes: Pushes
    ) -> None:
        self.manager, self.quota, self.recordings = manager, quota, recordings
        self.most_waiting: Callable[[], int] = lambda: manager.most_waiting
        self.on_changed: Callable[[], None] = lambda: None  # sessions came, joined or went
        self.pushes = pushes

    # -- life --------------------------------------------------------------------------------

    async def create(self, order: Order) -> Made:
        """A session without peers."""
        session = await self._created(order)
        return Made(session.id, session.token, session.options.avatar)

    async def call(self, order: Order, sdp: str) -> Answered:
        """A session and its caller."""
        offer = sdp_offer.parse(sdp, PeerRole.CALLER)
        session = await self._created(order)
        try:
            answer, peer = await signaling.answer(session, offer, self._servers(session))
        except BaseException:
            await session.end("its offer could not be answered")
            raise
        return Answered(session.id, answer, peer.name, session.token)

    async def delete(self, asked: Asked) -> None:
        """Ends the session and every peer of it."""
        await self.own(asked).end("it was deleted")

    async def end(self, session: str, why: str) -> None:
        """Ends a session soon."""
        for each in self.manager.sessions:
            if each.id == session:
                each.end_soon(why)

    async def _created(self, order: Order) -> Session:
        """A session that counts as its caller's until it ends."""
        caller, manager = order.caller, self.manager
        if order.resume:
            raise ResumeRefused("Sessions of this server end with it. Call without the token.")
        if caller.avatar and caller.avatar != order.options.avatar:
            raise Forbidden(f"This token is for the avatar {caller.avatar!r}.")
        claim = self.quota.take(caller, order.address, self.most_waiting())
        try:
            session = await manager.create(order.options)
        except BaseException:
            claim.give_back()
            raise
        self.quota.owns(session.id, caller)
        joined, ended = session.on_joined, session.on_ended

        def came() -> None:
            claim.joined()
            joined()
            self.on_changed()

        def over(session: Session) -> None:
            claim.give_back()
            self.quota.forget(session.id)
            self.recordings.ended(session)
            self.pushes.ended(session)
            ended(session)
            self.on_changed()

        session.on_joined, session.on_ended = came, over
        self.on_changed()
        return session

    # -- peers -------------------------------------------------------------------------------

    async def offer(self, asked: Asked, role: PeerRole, sdp: str) -> Answered:
        """A peer joins."""
        session = self.own(asked)
        offer = sdp_offer.parse(sdp, role)
        await self.manager.stands(session)
        answer, peer = await signaling.answer(session, offer, self._servers(session))
        return Answered(session.id, answer, peer.name)

    async def trickle(self, asked: Asked, role: PeerRole | None, peer: str, fragment: str) -> None:
        """A peer's candidates."""
        session = self.own(asked)
        await self.manager.stands(session)
        source = session.participants.source
        if role is None and source is None:
            raise UnknownPeer("This session has no caller. Post an offer to its call door.")
        whose = source if role is None else _member(session, role, peer)
        assert whose is not None
        await signaling.trickle(whose, ice.parse_fragment(fragment))

    async def leave(self, asked: Asked, role: PeerRole, peer: str) -> None:
        """A peer goes."""
        session = self.own(asked)
        await session.participants.leave(_member(session, role, peer))

    def _servers(self, session: Session) -> list[Any]:
        return ice.servers(self.manager.settings, session.id, time.time())

    # -- what is asked -----------------------------------------------------------------------

    def own(self, asked: Asked) -> Session:
        """The session, for whoever holds its token or the key that began it."""
        session = self.manager.session(asked.session)
        if not (asked.caller.key and self.quota.may_open(session.id, asked.caller)):
            session_tokens.require(asked.bearer, session.token)
        return session

    async def check_session(self, asked: Asked) -> None:
        """Whether the session is there, and is the asker's."""
        self.own(asked)

    async def stats(self, asked: Asked) -> dict[str, Any]:
        """The session now."""
        session = self.own(asked)
        return {**description.describe(session), "quality": session.peek()}

    async def say(self, asked: Asked, text: Say, wait: bool) -> dict[str, Any]:
        """A text to be spoken."""
        session = self.own(asked)
        await self.manager.stands(session)
        return await spoken(session.say(text), wait)

    async def events(self, asked: Asked) -> AsyncGenerator[str, None]:
        """Events until the session is over, or too many were not read."""
        session = self.own(asked)
        heard: asyncio.Queue[str | None] = asyncio.Queue(UNREAD)

        def tell(message: str | None) -> None:
            if not heard.full():
                heard.put_nowait(message)

        over = asyncio.create_task(session.over.wait(), name=f"{session.id}/events")
        over.add_done_callback(lambda _: tell(None))
        session.listeners.add(tell)
        try:
            yield description.ready(session)
            while not heard.full() and (message := await heard.get()) is not None:
                yield message
        finally:
            session.listeners.discard(tell)
            over.cancel()

    async def listing(self, caller: Caller) -> list[dict[str, Any]]:
        """Running sessions that the caller may open."""
        mine = (s for s in self.manager.sessions if self.quota.may_open(s.id, caller))
        return [description.row(session) for session in mine]

    async def owners(self) -> Mapping[str, str]:
        """The key behind each session."""
        return {session.id: self.quota.owner(session.id) for session in self.manager.sessions}

    # -- the server --------------------------------------------------------------------------

    async def health(self) -> dict[str, Any]:
        """What runs, on which device, and why."""
        manager = self.manager
        name, why = manager.h264
        return {
            **manager.describe_health(),
            "door": manager.slots.door.value,
            "slots": {"total": manager.slots.total, "taken": manager.slots.taken},
            "model": manager.describe_model(),
            "cost_ms": manager.cost.describe() if manager.cost else None,
            "quality_level": manager.load.governor.level,
            "h264": {"encoder": name, "reason": why},
            "workers": [],
        }

    async def ready(self) -> int:
        """How many sessions fit."""
        if self.manager.problem is not None:
            raise NotReady(f"Warm-up failed: {self.manager.problem}", retry_after_s=30)
        self.manager.check()
        return self.manager.slots.total

    async def metrics(self) -> bytes:
        """Prometheus text."""
        return self.manager.metrics.text()


async def spoken(utterance: Utterance, wait: bool) -> dict[str, Any]:
    """An utterance as JSON; with ``wait``, once it has been spoken."""
    if wait:
        await utterance.done.wait()
    how = utterance.finished
    finished = None
    if how is not None:
        names = ("media_time", "position_ms", "interrupted", "error")
        finished = {name: getattr(how, name) for name in names}
    received_ms = utterance.received * 1000 // RATE
    return {"id": utterance.id, "received_ms": received_ms, "finished": finished}


def _member(session: Session, role: PeerRole, peer: str) -> Participant:
    found = session.participants.get(peer)
    if found is None or found.role is not role:
        raise UnknownPeer("There is no such peer, or it has left.")
    return found
