"""``/v1/sessions/{id}/recording``: begins, describes and ends recordings, and finishes their files.

Everybody in a session is told when it is recorded. A recording ends with its session at the latest;
its file is finished on a thread, and one that a crash left behind when the server starts again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from server.errors import RecordingRefused, RecordingState
from server.recorder import PARTIAL, Recorder, finish, recover
from server.session import RECORDED, Session

log = logging.getLogger(__name__)


class Marker(Protocol):
    """``server.marking.Marking``, as far as recordings know it. Blocking calls."""

    def admit(self, stream: Any, session: str) -> dict[str, str]: ...
    def seal(self, origin: dict[str, str], path: Path) -> None: ...


@dataclass(slots=True)
class Running:
    """A recording in progress."""

    id: str
    session: Session
    recorder: Recorder
    since: float

    def describe(self) -> dict[str, object]:
        """As JSON."""
        return {
            "id": self.id,
            "seconds": round(self.recorder.seconds, 2),
            "pictures": self.recorder.pictures,
            "left_out": self.recorder.left_out,
        }


class Recordings:
    """The recordings of a server, at most one a session. An empty ``folder`` allows none."""

    def __init__(self, folder: str, marker: Marker | None) -> None:
        self._folder = Path(folder).expanduser() if folder else None
        self.marker = marker
        self._running: dict[str, Running] = {}
        self._begun: set[str] = set()
        self._finishing: set[asyncio.Task[Path | None]] = set()

    async def recover(self) -> None:
        """Finishes what an earlier process left behind."""
        if self._folder is None or self.marker is None:
            return
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        found = await asyncio.to_thread(recover, self._folder, self.marker.seal)
        for path in found:
            log.info("recording %s was left behind by a crash and is finished", path.name)

    async def start(self, session: Session) -> dict[str, object]:
        """Raises ``RecordingRefused``, ``RecordingState`` or ``ConsentRequired``."""
        if self._folder is None or self.marker is None:
            raise RecordingRefused("This server keeps no recordings: set 'recordings' to a folder")
        if session.id in self._running or session.id in self._begun:
            raise RecordingState("This session is recorded already. Delete the recording first.")
        self._begun.add(session.id)
        try:
            origin = await asyncio.to_thread(self.marker.admit, session.stream, session.id)
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            if not session.running:
                raise RecordingState("This session has ended.")
            running = self._roll(session, origin)
        finally:
            self._begun.discard(session.id)
        return {**running.describe(), "state": "recording"}

    def _roll(self, session: Session, origin: dict[str, str]) -> Running:
        assert self._folder is not None
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(6)}"
        loop = asyncio.get_running_loop()

        def failed(failure: Exception) -> None:
            text = f"the recording stopped: {type(failure).__name__}"
            loop.call_soon_threadsafe(session.notice, "recording_failed", text)

        recorder = Recorder(self._folder / (name + PARTIAL), origin, failed)
        running = Running(name, session, recorder, time.monotonic())
        self._running[session.id] = running
        session.stage.tap = recorder
        session.notice("recording_started", RECORDED)
        log.info("recording %s begins", name, extra={"session": session.id})
        return running

    def describe(self, session: Session) -> dict[str, object]:
        """What is being recorded. Raises ``RecordingState`` when nothing is."""
        return {**self._of(session).describe(), "state": "recording"}

    async def stop(self, session: Session) -> dict[str, object]:
        """Ends a recording and waits until its file is finished. Raises ``RecordingState``."""
        running = self._of(session)
        path = await asyncio.shield(self._end(running))
        size = path.stat().st_size if path else 0
        file = path.name if path else None
        return {**running.describe(), "state": "finished", "file": file, "bytes": size}

    def ended(self, session: Session) -> None:
        """A session is over, and its recording with it."""
        if session.id in self._running:
            self._end(self._running[session.id])

    async def close(self) -> None:
        """Ends every recording and waits for their files."""
        for running in list(self._running.values()):
            self._end(running)
        await asyncio.gather(*self._finishing, return_exceptions=True)

    def _of(self, session: Session) -> Running:
        if session.id not in self._running:
            raise RecordingState("This session is not being recorded. Post to this address first.")
        return self._running[session.id]

    def _end(self, running: Running) -> asyncio.Task[Path | None]:
        del self._running[running.session.id]
        running.session.stage.tap = None
        running.session.notice("recording_stopped", "this session is not recorded any more")
        task = asyncio.create_task(asyncio.to_thread(self._finish, running))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task

    def _finish(self, running: Running) -> Path | None:
        assert self.marker is not None
        running.recorder.close()
        path = running.recorder.path
        return finish(path, self.marker.seal) if path.exists() else None
