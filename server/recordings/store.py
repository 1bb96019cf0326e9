"""Recordings on disk: a media file and a card each, in a folder that belongs to one server.

The card holds whose session was recorded and the consent. It is written before the first frame and
removed after the file, so that every file has one. A lock keeps a second server away, which would
mistake a running recording for the remains of a crash; the kernel releases the lock when the
process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

from server.errors import UnknownRecording
from server.recordings.recorder import PARTIAL, leftovers

LOCK: Final = ".lock"
_CARD: Final = ".json"
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}")


class StoreTaken(Exception):
    """The folder cannot be this server's; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a recording. ``owner`` is a key's id; empty for a local caller."""

    id: str
    session: str
    owner: str
    began_at: float  # seconds since the epoch
    origin: dict[str, str]  # how it came to be: model, avatar, consent, mark

    @classmethod
    def new(cls, session: str, owner: str, origin: dict[str, str]) -> Self:
        """A card of a recording that begins now."""
        now = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        return cls(f"{stamp}-{secrets.token_hex(6)}", session, owner, now, origin)

    @classmethod
    def read(cls, text: str) -> Self:
        """Back from a file; raises ``ValueError`` for what is none."""
        content = json.loads(text)
        if not isinstance(content, dict) or set(content) != {item.name for item in fields(cls)}:
            raise ValueError("not the card of a recording")
        return cls(**content)


class RecordingStore:
    """One folder of recordings. Methods block; they raise ``OSError`` where nothing is said."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self.left: list[Path] = []  # partial files of an earlier process, when it was claimed
        self._old: list[Path] = []  # cards, likewise
        self._held: int | None = None

    def claim(self) -> None:
        """Holds the folder until ``release`` or the end of the process. Raises ``StoreTaken``."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            held = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as failure:
            raise StoreTaken(f"{self.folder} cannot be used: {failure.strerror}") from failure
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            holder = os.pread(held, 100, 0).decode("utf-8", "replace").strip()
            os.close(held)
            raise StoreTaken(_taken(self.folder, holder, failure)) from failure
        os.ftruncate(held, 0)
        os.pwrite(held, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        self._held = held
        self.left, self._old = leftovers(self.folder), list(self.folder.glob("*" + _CARD))

    def release(self) -> None:
        """Lets others have it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def put(self, card: Card) -> Path:
        """Writes a card for good; returns where the recording's partial file goes."""
        path = self.folder / (card.id + _CARD)
        scratch = path.with_name(f".{path.name}.tmp")
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(asdict(card), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        return self.partial(card.id)

    def card(self, name: str) -> Card:
        """Raises ``UnknownRecording``, also for a name that is none."""
        if not _NAME.fullmatch(name):
            raise UnknownRecording(f"{name[:80]!r} is not the name of a recording.")
        try:
            return Card.read((self.folder / (name + _CARD)).read_text("utf-8"))
        except (FileNotFoundError, ValueError) as failure:
            raise UnknownRecording("There is no such recording, or it was deleted.") from failure

    def names(self) -> list[str]:
        """Every recording that has a card, newest first."""
        return sorted((path.stem for path in self.folder.glob("[0-9]*" + _CARD)), reverse=True)

    def partial(self, name: str) -> Path:
        """The file while it is written, and after that if it could not be signed."""
        return self.folder / (name + PARTIAL)

    def final(self, name: str) -> Path:
        """The file when it is finished."""
        return self.folder / (name + ".mp4")

    def size(self, name: str) -> int:
        """Bytes of the file, whichever it is; 0 where there is none."""
        for path in (self.final(name), self.partial(name)):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def remove(self, name: str) -> None:
        """File first, card last."""
        for path in (self.final(name), self.partial(name), self.folder / (name + _CARD)):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes cards of an earlier process that have no file: it was killed in between."""
        for card in self._old:
            if not (self.final(card.stem).exists() or self.partial(card.stem).exists()):
                card.unlink(missing_ok=True)


def _taken(folder: Path, holder: str, failure: OSError) -> str:
    if not isinstance(failure, BlockingIOError):
        return f"{folder} cannot be locked ({failure.strerror}): use a folder on a local disk"
    return (
        f"{folder} is in use by another server ({holder or 'which does not say who'}): give each"
        " server a folder of its own, or stop that one first"
    )
