"""Which servers of a registry are running: each holds a lock on its own file.

The kernel releases the lock when the process ends, however it ends. So a file that can be locked
belongs to a killed server. Knows nothing of sessions.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Presence:
    """One server among those of a folder. Methods raise ``OSError``."""

    def __init__(self, folder: Path) -> None:
        self.id = "srv-" + secrets.token_hex(8)
        self._folder = folder
        self._held: int | None = None

    def enter(self) -> None:
        """From now on, until ``leave`` or the end of the process, this server runs."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while self._held is None:
            descriptor = _open(self._folder / self.id, os.O_CREAT)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                self._held = descriptor
            else:  # between the two lines it was taken for dead, and removed
                os.close(descriptor)

    def leave(self, forgotten: bool = True) -> None:
        """It ends; unless ``forgotten``, it is then among the ``dead``."""
        if self._held is None:
            return
        if forgotten:
            (self._folder / self.id).unlink(missing_ok=True)
        os.close(self._held)
        self._held = None

    def dead(self) -> Iterator[str]:
        """Servers that ended without leaving; each is forgotten once the next is asked for."""
        for path in sorted(self._folder.glob("srv-*")):
            with _locked(path) as locked:
                if locked:
                    yield path.name
                    path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Yields whether the file is unlocked; it is locked by us while the block lasts."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:  # another server was faster
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _open(path: Path, more: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | more, 0o600)
