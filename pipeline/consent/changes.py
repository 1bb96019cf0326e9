"""How a process notices that the registry has changed: its revision, and the age of that answer.

A local file is queried each time, which reads shared memory. A database server is queried by one
thread, several times a second; all others read its last answer, so that they never wait for the
network. Knows nothing of consent.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from pipeline.errors import ContinuumError, RegistryUnavailable

log: Final = logging.getLogger(__name__)

LOOK_S: Final = 0.2  # how often a server elsewhere is asked
STALE_S: Final = 2.0  # after which its last answer counts for nothing by itself
_QUERY: Final = "SELECT value FROM registry_state WHERE name = 'revision'"


class Listener(Protocol):
    """Who has to know of a change before anybody else acts on it."""

    def changed(self, revision: int) -> None:
        """Called by the thread that asks, which waits for it; may ask the registry."""


class Changes(Protocol):
    """The revision as it is known here."""

    watched: bool  # whether another thread asks, so that an answer may lag behind

    def revision(self) -> int:
        """Grows with each change. Raises ``RegistryUnavailable`` where no answer is recent."""

    def answered_at(self) -> float:
        """When the registry last answered, on the monotonic clock."""

    def listen(self, listener: Listener) -> None:
        """Calls ``listener`` at each change, while the listener is alive elsewhere."""

    def refresh(self) -> None:
        """Asks now; returns once the answer counts, or has failed."""

    def close(self) -> None:
        """Every later question is answered with ``RegistryUnavailable``."""


class FileChanges:
    """Asks SQLite whether anybody wrote since. Owns a connection, for one thread at a time."""

    watched = False

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None
        )
        self._seen = self._known = -1
        self._answered_at = time.monotonic()

    def revision(self) -> int:
        with self._lock:
            if self._file is None:
                raise RegistryUnavailable("the consent registry is closed")
            (version,) = self._file.execute("PRAGMA data_version").fetchone()
            if version != self._seen:
                (value,) = self._file.execute(_QUERY).fetchone()
                self._known, self._seen = int(value), version
            self._answered_at = time.monotonic()
            return self._known

    def answered_at(self) -> float:
        return self._answered_at

    def listen(self, listener: Listener) -> None:
        """No notification: every query reads the current revision."""

    def refresh(self) -> None:
        """Nothing to refresh: every query is new."""

    def close(self) -> None:
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            file.close()


class WatchedChanges:
    """Asks with a thread of its own. ``ask`` raises ``RegistryUnavailable`` when it cannot."""

    watched = True

    def __init__(
        self,
        ask: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        self._ask, self._clock, self._look_s = ask, clock, look_s
        self._answered_at = clock()
        self._known = self._told = ask()
        self._turn = threading.Condition()
        self._wanted = self._begun = self._ended = 0
        self._closed, self._fault = False, ""
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._watch, name="registry", daemon=True)
        self._thread.start()

    def revision(self) -> int:
        age = self._clock() - self._answered_at
        if self._closed or age > STALE_S:
            why = "is closed" if self._closed else f"has not answered for {age:.1f} s"
            raise RegistryUnavailable(f"the consent registry {why}{self._fault}")
        return self._known

    def answered_at(self) -> float:
        return self._answered_at

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def refresh(self, wait_s: float = 10.0) -> None:
        if threading.current_thread() is self._thread:
            return
        with self._turn:
            wanted = self._wanted = self._begun + 1
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._closed or self._ended >= wanted, wait_s)

    def close(self) -> None:
        """Waits for the thread a moment; one that hangs in the network ends when that does."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _watch(self) -> None:
        while not self._closed:
            with self._turn:
                self._begun += 1
            self._look()
            with self._turn:
                self._ended = self._begun
                self._turn.notify_all()
                self._turn.wait_for(
                    lambda: self._closed or self._wanted > self._begun, self._look_s
                )

    def _look(self) -> None:
        """An answer counts from when it was asked for, and once the listeners know it."""
        began = self._clock()
        try:
            self._known = self._ask()
            if self._known != self._told:
                for listener in list(self._listeners):
                    listener.changed(self._known)
                self._told = self._known
        except ContinuumError as failure:
            if not self._closed and not self._fault:
                log.error("the consent registry does not answer: %s", failure)
            self._fault = f" ({failure})"
        except (
            Exception
        ) as failure:  # the watch outlives what it looks at; nothing stands meanwhile
            log.exception("the consent registry could not be judged anew")
            self._fault = f" ({failure!r})"
        else:
            self._answered_at, self._fault = began, ""
