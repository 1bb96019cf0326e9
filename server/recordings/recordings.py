"""The recordings of a server: begin, end, finish, serve and delete them.

All peers of a session get a notice when recording begins. A recording ends with its session at the
latest. Its file is finished on a thread, after a crash at the next start. Fetching a file needs
the same consent as recording it, still valid.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pipeline.interface import AvatarStream
from server.errors import RecordingRefused, RecordingState, Unavailable, UnknownRecording
from server.recordings.recorder import Recorder, finish
from server.recordings.store import Card, RecordingStore
from server.sessions.description import RECORDED
from server.sessions.session import Session

log = logging.getLogger(__name__)

FINISHERS: Final = 2  # files that are finished at once, seconds each, on threads of their own


class Provenance(Protocol):
    """``RecordingProvenance``, as far as recordings know it. Blocking calls."""

    def admit(self, stream: AvatarStream, session: str) -> dict[str, str]: ...
    def seal(self, origin: dict[str, str], path: Path) -> None: ...
    def lend(self, origin: dict[str, str], recording: str, actor: str) -> None: ...
    def deleted(self, origin: dict[str, str], recording: str, actor: str) -> None: ...


@dataclass(slots=True)
class Running:
    """A recording in progress."""

    card: Card
    session: Session
    recorder: Recorder

    def describe(self) -> dict[str, object]:
        """As JSON."""
        return {
            "id": self.card.id,
            "seconds": round(self.recorder.seconds, 2),
            "pictures": self.recorder.pictures,
            "left_out": self.recorder.left_out,
        }


class Recordings:
    """At most one a session. Without a ``store`` there are none."""

    def __init__(self, store: RecordingStore | None, provenance: Provenance | None) -> None:
        self._store, self.provenance = store, provenance
        self._running: dict[str, Running] = {}
        self._begun: dict[str, str] = {}  # sessions whose recording begins, and its name
        self._finishing: dict[str, asyncio.Future[Path | None]] = {}
        self._finishers = ThreadPoolExecutor(FINISHERS, thread_name_prefix="recordings")

    async def recover(self) -> None:
        """Finishes what an earlier process left behind."""
        if self._store is None or self.provenance is None:
            return
        for partial in self._store.left:
            loop = asyncio.get_running_loop()
            path = await loop.run_in_executor(
                self._finishers, finish, partial, self.provenance.seal
            )
            if path is not None:
                log.info("recording %s was left behind by a crash and is finished", path.name)
        self._store.left = []
        await asyncio.to_thread(self._store.sweep)

    # -- while a session runs ----------------------------------------------------------------

    async def start(self, session: Session, owner: str = "") -> dict[str, object]:
        """Raises ``RecordingRefused``, ``RecordingState``, ``ConsentRequired``, ``Unavailable``."""
        if self._store is None or self.provenance is None:
            raise RecordingRefused("This server keeps no recordings: set 'recordings' to a folder")
        if session.id in self._running or session.id in self._begun:
            raise RecordingState("This session is recorded already. Delete the recording first.")
        if (stream := session.stream) is None:
            raise RecordingState("This session has not begun.")
        self._begun[session.id] = ""
        try:
            origin = await asyncio.to_thread(self.provenance.admit, stream, session.id)
            card = Card.new(session.id, owner, origin)
            self._begun[session.id] = card.id
            partial = await asyncio.to_thread(self._store.put, card)
            if not session.running:
                await asyncio.to_thread(self._store.remove, card.id)
                raise RecordingState("This session has ended.")
            running = self._roll(session, card, partial)
        except OSError as failure:
            log.error("no recording can be written: %s", failure)
            raise Unavailable(f"No recording can be written: {failure.strerror}.") from failure
        finally:
            del self._begun[session.id]
        return {**running.describe(), "state": "recording"}

    def _roll(self, session: Session, card: Card, partial: Path) -> Running:
        loop = asyncio.get_running_loop()

        def failed(failure: Exception) -> None:
            log.error("recording %s failed", card.id, exc_info=failure)
            text = f"the recording stopped: {type(failure).__name__}"
            loop.call_soon_threadsafe(session.notice, "recording_failed", text)

        running = Running(card, session, Recorder(partial, card.origin, failed))
        self._running[session.id] = running
        session.media_sender.taps.add(running.recorder)
        session.recorded = True
        session.notice("recording_started", RECORDED)
        log.info("recording %s begins", card.id, extra={"session": session.id})
        return running

    def describe(self, session: Session) -> dict[str, object]:
        """What is being recorded. Raises ``RecordingState`` when nothing is."""
        return {**self._of(session).describe(), "state": "recording"}

    async def stop(self, session: Session) -> dict[str, object]:
        """Ends a recording and waits until its file is finished. Raises ``RecordingState``."""
        running = self._of(session)
        path = await asyncio.shield(self._end(running))
        if path is None:
            return {**running.describe(), "state": "empty", "file": None, "bytes": 0}
        size = (await asyncio.to_thread(path.stat)).st_size
        state = self._state(running.card.id)
        return {**running.describe(), "state": state, "file": path.name, "bytes": size}

    def ended(self, session: Session) -> None:
        """A session is over, and its recording with it."""
        if session.id in self._running:
            self._end(self._running[session.id])

    async def close(self) -> None:
        """Ends every recording and waits for their files."""
        for running in list(self._running.values()):
            self._end(running)
        await asyncio.gather(*self._finishing.values(), return_exceptions=True)
        await asyncio.to_thread(self._finishers.shutdown)

    def _of(self, session: Session) -> Running:
        if session.id not in self._running:
            raise RecordingState("This session is not being recorded. Post to this address first.")
        return self._running[session.id]

    def _end(self, running: Running) -> asyncio.Future[Path | None]:
        del self._running[running.session.id]
        running.session.media_sender.taps.discard(running.recorder)
        running.session.recorded = False
        running.session.notice("recording_stopped", "this session is not recorded any more")
        loop = asyncio.get_running_loop()
        task = loop.run_in_executor(self._finishers, self._finish, running)
        self._finishing[running.card.id] = task
        task.add_done_callback(lambda _: self._finishing.pop(running.card.id, None))
        return task

    def _finish(self, running: Running) -> Path | None:
        assert self.provenance is not None
        assert self._store is not None
        running.recorder.close()
        path = running.recorder.path
        found = finish(path, self.provenance.seal) if path.exists() else None
        if found is None:
            self._store.remove(running.card.id)
        return found

    # -- afterwards --------------------------------------------------------------------------

    def card(self, name: str) -> Card:
        """Blocking. Raises ``UnknownRecording``."""
        if self._store is None:
            raise UnknownRecording("This server keeps no recordings.")
        return self._store.card(name)

    def cards(self) -> list[Card]:
        """Newest first; blocking. A card that cannot be read is left out."""
        found = []
        for name in self._store.names() if self._store else []:
            try:
                found.append(self.card(name))
            except UnknownRecording:
                log.warning("the card of recording %s cannot be read", name)
        return found

    def about(self, card: Card) -> dict[str, object]:
        """A recording as JSON; blocking."""
        assert self._store is not None
        return {
            "id": card.id,
            "session": card.session,
            "avatar": card.origin.get("avatar", ""),
            "began_at": round(card.began_at, 3),
            "state": self._state(card.id),
            "bytes": self._store.size(card.id),
            "file": f"/v1/recordings/{card.id}/file",
        }

    def lend(self, card: Card, actor: str) -> Path:
        """The finished file, after access was checked; blocking, audited.

        Raises ``RecordingState`` before it is finished, ``ConsentRequired`` without consent.
        """
        assert self._store is not None
        if (state := self._state(card.id)) != "finished":
            raise RecordingState(f"This recording cannot be fetched: it is {state}.", state=state)
        self._proof().lend(card.origin, card.id, actor)
        return self._store.final(card.id)

    def delete(self, card: Card, actor: str) -> None:
        """Removes a recording, audited first; blocking. Raises ``RecordingState``."""
        assert self._store is not None
        if (state := self._state(card.id)) in ("recording", "finishing"):
            raise RecordingState(f"This recording is {state}: end it first.", state=state)
        self._proof().deleted(card.origin, card.id, actor)
        self._store.remove(card.id)
        log.info("recording %s is deleted", card.id)

    def _proof(self) -> Provenance:
        if self.provenance is None:
            raise RecordingRefused("This server keeps no recordings: it cannot mark them.")
        return self.provenance

    def _state(self, name: str) -> str:
        assert self._store is not None
        running = [running.card.id for running in list(self._running.values())]
        if name in running or name in list(self._begun.values()):
            return "recording"
        left = {partial.name for partial in self._store.left}
        if name in self._finishing or self._store.partial(name).name in left:
            return "finishing"
        if self._store.final(name).exists():
            return "finished"
        return "unsigned" if self._store.partial(name).exists() else "lost"
