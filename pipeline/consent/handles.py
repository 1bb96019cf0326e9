"""Counts users of a native handle, so that its owner frees it once, when no user is left.

SQLite, libpq and similar libraries free memory that another thread may be reading, and a lock
around each call would prevent parallel work. Users enter and leave; closing refuses new users and
waits for the others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Occupancy:
    """Threads inside one handle. ``turned_away`` makes the error for those who come too late."""

    def __init__(self, turned_away: Callable[[], Exception]) -> None:
        self._turned_away = turned_away
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self.closed = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Around each use. A thread that is inside already may enter again while others close."""
        me = threading.get_ident()
        with self._changed:
            if self.closed and not self._inside[me]:
                raise self._turned_away()
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                self._inside += Counter()  # drops those who left
                self._changed.notify_all()

    def close(self, wait_s: float) -> bool:
        """Refuses new users. Waits until no other thread is inside, ``wait_s`` at most;
        whether this call was the one that closed it."""
        me = threading.get_ident()
        with self._changed:
            first, self.closed = not self.closed, True
            self._changed.wait_for(lambda: not set(self._inside) - {me}, wait_s)
        return first
