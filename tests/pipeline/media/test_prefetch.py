"""Working ahead in a thread: same items, same errors, bounded, and it stops when told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.media.prefetch import prefetch


class Source:
    """Counts what was asked of it; tells when it rests."""

    def __init__(self, length: int, error_at: int | None = None) -> None:
        self.length, self.error_at = length, error_at
        self.made = 0
        self.reached = threading.Condition()
        self.closed_in = ""

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.length):
                if number == self.error_at:
                    raise LookupError(f"no item {number}")
                with self.reached:
                    self.made += 1
                    self.reached.notify_all()
                yield number
        finally:
            self.closed_in = threading.current_thread().name

    def wait_for(self, made: int) -> None:
        with self.reached:
            assert self.reached.wait_for(lambda: self.made >= made, timeout=10)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_every_item_comes_once_and_in_order(depth: int) -> None:
    assert list(prefetch(iter(Source(50)), depth)) == list(range(50))


def test_it_works_ahead_but_not_further_than_its_depth() -> None:
    source = Source(50)
    items = prefetch(iter(source), 4)
    assert next(items) == 0
    source.wait_for(6)  # one taken, four waiting, one in hand
    assert source.made == 6
    items.close()  # type: ignore[attr-defined]
    assert source.made == 6


def test_an_error_comes_where_its_item_would_have() -> None:
    items = prefetch(iter(Source(50, error_at=7)), 3)
    assert [next(items) for _ in range(7)] == list(range(7))
    with pytest.raises(LookupError, match="no item 7"):
        next(items)


def test_closing_ends_the_thread_and_the_source() -> None:
    source = Source(10**9)
    items = prefetch(iter(source), 2, "worker under test")
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert source.closed_in == "worker under test"
    assert "worker under test" not in {thread.name for thread in threading.enumerate()}


def test_a_depth_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="0"):
        next(prefetch(iter([1]), 0))
