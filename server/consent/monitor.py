"""Sessions and the consent registry: the audit log, and withdrawal of consent during a call.

One thread writes sessions into the audit log, in order; entries that cannot be written are kept
and written when the registry is reachable again. Another thread checks the grants of all sessions
several times a second, which takes microseconds. A session whose consent was withdrawn, or whose
record cannot be judged, gets a message and ends; the others go on. While the registry is
unreachable, grants hold for a grace period and no new session begins. Sessions of a killed server
are closed in the log by the next server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from pipeline.consent import ConsentGrant, Registry
from pipeline.errors import ConsentError, ConsentTampered, ContinuumError, RegistryUnavailable
from server.consent.presence import Presence
from server.errors import ConsentRequired, RegistryDown

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S: Final = 0.25
ERASE_S: Final = 600.0  # how often revoked people's files are looked through
MAX_OWED: Final = 10_000  # entries that wait for the registry; then the oldest are lost
RETRY_S: Final = 5
ACTOR: Final = "server"
AWAY: Final = "The consent registry cannot be asked; running sessions go on for a while."


class Running(Protocol):
    """``server.sessions.session.Session``, as far as the monitor knows it."""

    id: str
    grant: ConsentGrant | None

    def notice(self, code: str, message: str) -> None: ...
    def end_soon(self, why: str, code: str = ...) -> None: ...


class ConsentMonitor:
    """One server's side of the registry."""

    def __init__(self, registry: Registry, now: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        self.away = ""  # why the registry cannot be asked; empty while it answers
        self._fault = ""  # what the last look failed of, that among it
        self._now = now
        self._clerk = ThreadPoolExecutor(1, thread_name_prefix="consent-log")
        self._lookout = ThreadPoolExecutor(1, thread_name_prefix="consent-watch")
        self._began: dict[str, float] = {}
        self._erased_at = float("-inf")
        self._presence = Presence(registry.vault.folder / "servers" / registry.vault.blobs.name)
        self._owed: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_OWED)
        self._lost = False  # an entry that can never be written
        self._clerk.submit(self._take_over)

    # -- audit log --------------------------------------------------------------------------

    def began(self, session: Running, avatar: str) -> None:
        """A session performs; its grant was in the log before."""
        self._began[session.id] = self._now()
        self._write("session.started", session, avatar, server=self._presence.id)

    def ended(self, session: Running, avatar: str, code: str, why: str) -> None:
        """A session is over."""
        now = self._now()
        seconds = now - self._began.pop(session.id, now)
        self._write("session.ended", session, avatar, code=code, why=why, seconds=round(seconds, 1))

    def _write(self, action: str, session: Running, avatar: str, **detail: object) -> None:
        consent_id = session.grant.consent_id if session.grant else ""
        about = {"consent_id": consent_id, "avatar": avatar, "session": session.id, **detail}
        self._owed.append((action, about))
        self._clerk.submit(self._settle)

    def _settle(self) -> None:
        """Writes what is owed, in order, as far as the registry takes it."""
        while self._owed:
            action, about = self._owed[0]
            try:
                self.registry.log.record(action, actor=ACTOR, durable=False, **about)
            except RegistryUnavailable as failure:
                log.error("%s is not in the audit log yet: %s", action, failure)
                return
            except Exception:
                log.exception("%s of session %s is not audited", action, about["session"])
                self._lost = True
            self._owed.popleft()

    def _take_over(self) -> None:
        """Writes down the end of sessions whose server was killed."""
        try:
            self._presence.enter()
            for server in self._presence.dead():
                self._close_sessions_of(server)
        except (ContinuumError, OSError, ValueError) as failure:
            log.error("sessions of killed servers stay open in the audit log: %s", failure)

    def _close_sessions_of(self, server: str) -> None:
        for entry in self.registry.log.unanswered("session.started", "session.ended"):
            if json.loads(entry.detail).get("server") == server:
                self.registry.log.record(
                    "session.ended",
                    actor=ACTOR,
                    consent_id=entry.consent_id,
                    avatar=entry.avatar,
                    session=entry.session,
                    code="server_ended",
                    why="the server ended",
                    server=server,
                )

    # -- what is heard -----------------------------------------------------------------------

    async def watch(
        self, sessions: Callable[[], Iterable[Running]], changed: Callable[[], Awaitable[object]]
    ) -> None:
        """Until cancelled: ends sessions that lost their consent; awaits ``changed`` after a
        change of the registry. Nothing that it sees ends it."""
        revision = None
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._end_lost(list(sessions()))
                seen = await self._look_out(self._housekeeping)
                if seen != revision:  # the first time too: what came before it was not heard
                    await changed()
                revision, self.away, self._fault = seen, "", ""
            except Exception as failure:  # asked again at the next look
                self._note(failure)

    @property
    def problem(self) -> str:
        """What is wrong with the registry, for ``/healthz``; empty where nothing is."""
        return self._fault or self.registry.fault

    def check(self) -> None:
        """Raises ``RegistryDown`` while the registry is unreachable."""
        if self.away:
            raise RegistryDown(f"{AWAY} ({self.away})", RETRY_S)

    async def stands(self, session: Running) -> None:
        """Checks a running session's grant when a peer joins, sooner than ``watch`` would.

        Ends the session and raises ``ConsentRequired`` or ``RegistryDown`` when its grant no
        longer holds.
        """
        for refusal in await self._end_lost([session]):
            kind = RegistryDown if isinstance(refusal, RegistryUnavailable) else ConsentRequired
            raise kind(str(refusal), code=refusal.code) from refusal

    async def _end_lost(self, running: list[Running]) -> list[ConsentError]:
        lost = await self._look_out(
            lambda: [(session, refusal) for session in running if (refusal := _refusal(session))]
        )
        for session, refusal in lost:
            _end(session, refusal)
        return [refusal for _, refusal in lost]

    async def _look_out(self, look: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookout, look)

    def _note(self, failure: Exception) -> None:
        away = isinstance(failure, (RegistryUnavailable, RegistryDown))
        if str(failure) != self._fault:
            log.error("a look at the consent registry failed: %s", failure, exc_info=not away)
        self._fault = str(failure)
        self.away = self._fault if away else ""

    def _housekeeping(self) -> int:
        """Erases what is due now and then, writes what is owed; the registry's revision."""
        if self._now() - self._erased_at >= ERASE_S:
            self._erased_at = self._now()
            if gone := self.registry.erase_due():
                log.info("erased what %d revoked consents left", len(gone))
        revision = self.registry.database.revision()
        if self._owed:
            self._clerk.submit(self._settle)
        return revision

    def close(self) -> None:
        """Writes what waits, then closes the registry; blocking."""
        self._lookout.shutdown()
        self._clerk.shutdown()
        self._presence.leave(forgotten=not (self._owed or self._lost))
        self.registry.close()


def _refusal(session: Running) -> ConsentError | None:
    """Why a session's grant no longer holds; what cannot be judged does not."""
    try:
        if session.grant is not None:
            session.grant.check(session=session.id)
    except ConsentError as refusal:
        return refusal
    except Exception as failure:
        log.exception("the consent of a session cannot be judged", extra={"session": session.id})
        return ConsentTampered(f"the consent of this session cannot be judged: {failure}")
    return None


def _end(session: Running, refusal: ConsentError) -> None:
    away = isinstance(refusal, RegistryUnavailable)
    code = RegistryUnavailable.code if away else "consent_revoked"
    session.notice(code, str(refusal))
    session.end_soon(f"{type(refusal).__name__}: {refusal}", code)
