"""Every push of a server's sessions: who may be sent where, begun, looked at, ended."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from server.background.tasks import Tasks
from server.errors import PushRefused, TooManyPushes, UnknownPush, UnknownSession
from server.push.push import Push, PushState, Target, shown
from server.push.rtmp import RtmpTarget
from server.push.whip_client import WhipTarget
from server.rtc import ice
from server.sessions.session import Session
from server.settings import Settings

MOST: Final = 4  # of one session
TARGETS: Final = ("http", "https", "rtmp", "rtmps")
CODES: Final = {
    PushState.LIVE: "push_started",
    PushState.RETRYING: "push_interrupted",
    PushState.FAILED: "push_failed",
}


class Pushes:
    """Those of all sessions; each ends with its session."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pushes: dict[str, dict[str, Push]] = defaultdict(dict)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks()

    def start(self, session: Session, url: str, token: str) -> Push:
        """Raises ``PushRefused``, ``TooManyPushes``, ``UnknownSession``."""
        if not session.running:
            raise UnknownSession("There is no such session, or it has ended.")
        self._allow(url)
        live = self._pushes[session.id]
        if sum(push.state is not PushState.FAILED for push in live.values()) >= MOST:
            raise TooManyPushes(f"A session is sent to {MOST} places at most. Delete one first.")
        for name in [name for name, push in live.items() if push.state is PushState.FAILED]:
            del live[name]
        push = Push(url, self._target(session, url, token), lambda push: _tell(session, push))
        live[push.id] = push
        self._running[push.id] = self._tasks.start(f"{session.id}/push-{push.id}", push.run)
        return push

    def all(self, session: Session) -> list[Push]:
        """Those of a session, the oldest first."""
        return list(self._pushes[session.id].values()) if session.id in self._pushes else []

    def find(self, session: Session, name: str) -> Push:
        """Raises ``UnknownPush``."""
        for push in self.all(session):
            if push.id == name:
                return push
        raise UnknownPush("This session has no such push.")

    async def stop(self, session: Session, name: str) -> None:
        """Ends a push and waits until its connection is closed. Raises ``UnknownPush``."""
        push = self.find(session, name)
        del self._pushes[session.id][name]
        await self._end(push)
        session.notice("push_stopped", f"this session is not sent to {shown(push.url)} any more")

    def ended(self, session: Session) -> None:
        """A session is over, and its pushes with it."""
        for push in self._pushes.pop(session.id, {}).values():
            if (running := self._running.pop(push.id, None)) is not None:
                running.cancel()

    async def close(self) -> None:
        """Ends every push."""
        await self._tasks.close()

    async def _end(self, push: Push) -> None:
        running = self._running.pop(push.id)
        running.cancel()
        await asyncio.wait({running})

    def _allow(self, url: str) -> None:
        """Servers do not connect to wherever their users say."""
        parts = _split(url)
        if parts is None:
            raise PushRefused(f"A push goes to an address of {', '.join(TARGETS)}, not {url!r:.80}")
        host, port = parts
        if not {"*", host, f"{host}:{port}"} & set(self._settings.push_hosts):
            raise PushRefused(
                f"Sessions may not be sent to {host}: the operator lists hosts in push_hosts."
            )

    def _target(self, session: Session, url: str, token: str) -> Target:
        if url.lower().startswith("rtmp"):
            address = f"{url.rstrip('/')}/{token}" if token else url
            return RtmpTarget(session, address, self._settings.bitrate_max)
        servers = ice.servers(self._settings, session.id, time.time())
        return WhipTarget(session, url, token, servers)


def _split(url: str) -> Sequence[str] | None:
    """Host and port of an address that can be pushed to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in TARGETS and parts.hostname and not parts.username
        return (str(parts.hostname), str(parts.port or "")) if usable else None
    except ValueError:  # a port that is no number
        return None


def _tell(session: Session, push: Push) -> None:
    """The session's peers hear of it, as they do of a recording."""
    if push.state in CODES:
        why = f": {push.problem}" if push.problem else ""
        text = f"this session is sent to {shown(push.url)}: {push.state.value}{why}"
        session.notice(CODES[push.state], text)
