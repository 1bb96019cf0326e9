"""An iterator that works ahead in its own thread, by a bounded number of items.

The producer stops when it is ``depth`` items ahead and continues as they are taken. Closing the
iterator stops it at its next item. An error in it is raised where the item would have come.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread, current_thread
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """What follows the last item: nothing, or the error that ended the source."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Worker(Generic[T]):
    def __init__(self, source: Iterator[T], depth: int, name: str) -> None:
        self._source = source
        self._room = Semaphore(depth)
        self._items: SimpleQueue[T | _End] = SimpleQueue()  # bounded by the room there is
        self._stopped = False
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def take(self) -> T | _End:
        item = self._items.get()
        self._room.release()
        return item

    def stop(self) -> None:
        self._stopped = True
        self._room.release()
        if current_thread() is not self._thread:  # whoever collects garbage may be any thread
            self._thread.join()

    def _work(self) -> None:
        end = _End()
        try:
            self._fill()
        except BaseException as error:  # handed to whoever takes the next item
            end = _End(error)
        self._items.put(end)

    def _fill(self) -> None:
        try:
            for item in self._source:
                self._room.acquire()
                if self._stopped:
                    return
                self._items.put(item)
        finally:
            if isinstance(self._source, Generator):
                self._source.close()


def prefetch(source: Iterator[T], depth: int, name: str = "prefetch") -> Iterator[T]:
    """The items of ``source`` in order, made up to ``depth`` ahead by one thread."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    worker = _Worker(source, depth, name)
    try:
        while not isinstance(item := worker.take(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        worker.stop()
