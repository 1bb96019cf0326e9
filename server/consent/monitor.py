"""The desk: what a running server tells the consent registry, and what it hears from it.

Sessions are written into the audit log, in order, by one thread. Several times a second the grants
of all sessions are asked whether they still hold, which costs microseconds; a session whose consent
was withdrawn, here or by another process, is told so and ended. Sessions of a server that was
killed are closed in the log by the next one to start.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from pipeline.consent import Registry
from pipeline.errors import ConsentError, ContinuumError, RegistryUnavailable
from server.consent.presence import Presence
from server.errors import ConsentRequired, RegistryDown

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
ERASE_S: Final = 600.0  # how often revoked people's files are looked through
ACTOR: Final = "server"


class Running(Protocol):
    """``server.sessions.session.Session``, as far as the desk knows it."""

    id: str
    grant: Any

    def notice(self, code: str, message: str) -> None: ...
    def end_soon(self, why: str, code: str = ...) -> None: ...


class Desk:
    """One server's side of the registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._clerk = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._began: dict[str, float] = {}
        self._erased_at = float("-inf")
        self._presence = Presence(registry.vault.folder / "servers" / registry.vault.blobs.name)
        self._owes = False  # an entry that could not be written
        self._clerk.submit(self._take_over)

    # -- what is told ------------------------------------------------------------------------

    def began(self, session: Running, avatar: str) -> None:
        """A session performs; its grant was in the log before."""
        self._began[session.id] = time.monotonic()
        self._write("session.started", session, avatar, server=self._presence.id)

    def ended(self, session: Running, avatar: str, code: str, why: str) -> None:
        """A session is over."""
        seconds = time.monotonic() - self._began.pop(session.id, time.monotonic())
        self._write("session.ended", session, avatar, code=code, why=why, seconds=round(seconds, 1))

    def _write(self, action: str, session: Running, avatar: str, **detail: object) -> None:
        consent_id = str(getattr(session.grant, "consent_id", ""))
        about = {"consent_id": consent_id, "avatar": avatar, "session": session.id, **detail}
        self._clerk.submit(self._record, action, about)

    def _record(self, action: str, about: dict[str, Any]) -> None:
        try:
            self.registry.log.record(action, actor=ACTOR, durable=False, **about)
        except ContinuumError as failure:
            self._owes = True
            log.error("%s is not in the audit log: %s", action, failure)

    def _take_over(self) -> None:
        """Writes down the end of sessions whose server was killed."""
        try:
            self._presence.enter()
            for server in self._presence.dead():
                self._close_sessions_of(server)
        except (ContinuumError, OSError) as failure:
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
        self, sessions: Callable[[], Iterable[Running]], changed: Callable[[], Any]
    ) -> None:
        """Until cancelled: ends sessions that lost their consent; awaits ``changed`` after a
        change of the registry."""
        loop = asyncio.get_running_loop()
        revision = None
        while True:
            await asyncio.sleep(LOOK_S)
            running = list(sessions())
            lost = await loop.run_in_executor(self._clerk, self._look, running)
            for session, refusal in lost:
                _end(session, refusal)
            try:
                seen = await loop.run_in_executor(self._clerk, self._housekeeping)
                if seen != revision:  # the first time too: what came before it was not heard
                    await changed()
                revision = seen
            except (ContinuumError, RegistryDown) as failure:  # asked again at the next look
                log.error("the consent registry does not answer: %s", failure)

    async def stands(self, session: Running) -> None:
        """What a door of a running session asks before it opens, sooner than ``watch`` would.

        Ends the session and raises ``ConsentRequired`` or ``RegistryDown`` when its grant no
        longer holds.
        """
        loop = asyncio.get_running_loop()
        for _, refusal in await loop.run_in_executor(self._clerk, self._look, [session]):
            _end(session, refusal)
            kind = RegistryDown if isinstance(refusal, RegistryUnavailable) else ConsentRequired
            raise kind(str(refusal), code=refusal.code) from refusal

    def _look(self, running: list[Running]) -> list[tuple[Running, ConsentError]]:
        lost = []
        for session in running:
            check = getattr(session.grant, "check", None)
            try:
                if check is not None:
                    check(session=session.id)
            except ConsentError as refusal:
                lost.append((session, refusal))
        return lost

    def _housekeeping(self) -> int:
        """Erases what is due now and then; returns the registry's revision."""
        now = time.monotonic()
        if now - self._erased_at >= ERASE_S:
            self._erased_at = now
            if gone := self.registry.erase_due():
                log.info("erased what %d revoked consents left", len(gone))
        return self.registry.database.revision()

    def close(self) -> None:
        """Writes what waits, then closes the registry; blocking."""
        self._clerk.shutdown()
        self._presence.leave(forgotten=not self._owes)
        self.registry.close()


def _end(session: Running, refusal: ConsentError) -> None:
    session.notice("consent_revoked", str(refusal))
    session.end_soon(f"{type(refusal).__name__}: {refusal}", "consent_revoked")
