"""When a session ends by itself: nobody came or came back, it has lasted, it has been silent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from server.sessions.state import State

if TYPE_CHECKING:
    from server.sessions.session import Session

WATCH_S: Final = 0.25


class Lifetime:
    """One session's. Times are of the session's monotonic clock."""

    def __init__(self, session: Session, now_s: float) -> None:
        self._session, self._since_s = session, now_s
        self.lonely_s = now_s  # since when nobody is here
        self.active_s = now_s  # when somebody has spoken or ordered something last
        self.away = False  # who was here last has not left, the network has

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = self._session.monotonic()
            self._peers(now_s)
            self._limits(now_s)
            self._session.speech.watch(now_s)

    def _peers(self, now_s: float) -> None:
        """Ends peers that never connected, and the session after its grace period."""
        session, limits = self._session, self._session.limits
        session.participants.part_from_strangers(now_s - limits.grace_s)
        if session.state is not State.WAITING or now_s - self.lonely_s <= limits.grace_s:
            return
        session.on_parked(session)
        longest = limits.return_s if self.away else limits.grace_s
        if now_s - self.lonely_s > longest:
            session.end_soon(f"no peer was connected for {longest:.0f} s")

    def _limits(self, now_s: float) -> None:
        """Ends a session that has lasted, or been silent, for as long as it may."""
        session, limits = self._session, self._session.limits
        if session.receiver.speaking or session.speech.busy:
            self.active_s = now_s
        if 0 < limits.longest_s <= now_s - self._since_s:
            session.end_soon(f"a session may last {limits.longest_s:.0f} s")
        elif 0 < limits.idle_s <= now_s - self.active_s:
            session.end_soon(f"there was no speech for {limits.idle_s:.0f} s")
