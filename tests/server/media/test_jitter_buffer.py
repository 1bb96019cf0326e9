"""The timeline never has a gap, whatever comes late, early, twice or never."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from server.media.jitter_buffer import GRAIN, JitterBuffer


def piece(start: int, size: int) -> np.ndarray:
    """Samples whose values are their positions."""
    return (np.arange(start, start + size) % 30_000).astype(np.int16)


def test_what_comes_in_order_leaves_at_once() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, piece(0, 960))
    assert np.array_equal(timeline.take(10_000), piece(0, 960))
    assert timeline.head == 960


def test_what_follows_a_gap_waits_for_it_and_then_leaves_with_it() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(960, piece(960, 960))
    assert len(timeline.take(10_000)) == 0
    timeline.put(0, piece(0, 960))
    assert np.array_equal(timeline.take(10_000), piece(0, 1920))


def test_a_gap_is_concealed_only_when_it_must_and_what_comes_for_it_then_is_late() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, piece(1000, 960))
    timeline.take(960)
    timeline.put(1920, piece(1920, 960))
    filled = timeline.fill(2400)
    assert len(filled) == 1440 and timeline.head == 2400
    assert abs(int(filled[0])) <= 2000 and not filled[300:960].any()
    assert np.array_equal(filled[960:], piece(1920, 480))
    assert timeline.put(960, piece(960, 960)) == 960


def test_a_repeated_piece_changes_nothing() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, piece(0, 960))
    timeline.put(0, piece(5, 960))
    assert np.array_equal(timeline.take(10_000), piece(0, 960))


def test_more_than_the_capacity_is_dropped_newest_first() -> None:
    timeline = JitterBuffer(2000)
    assert timeline.put(0, piece(0, 1500)) == 0
    assert timeline.put(1500, piece(1500, 1500)) == 1000
    assert timeline.end == 2000


def test_nothing_leaves_beyond_the_limit() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, piece(0, 3000))
    assert len(timeline.take(960)) == 960
    assert len(timeline.take(960)) == 0
    assert np.array_equal(timeline.take(1920), piece(960, 960))


def test_dropping_moves_what_is_behind_forward() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, piece(0, 960))
    timeline.put(960, piece(960, 960))
    assert timeline.drop(960) == 960
    assert np.array_equal(timeline.take(10_000), piece(960, 960))
    assert timeline.drop(100) == 0


def test_a_cleared_timeline_conceals_from_silence() -> None:
    timeline = JitterBuffer(10_000)
    timeline.put(0, np.full(960, 9000, np.int16))
    timeline.take(960)
    timeline.put(960, piece(960, 960))
    timeline.clear()
    assert not timeline.fill(1920).any() and timeline.end == 1920


def test_a_timeline_needs_a_capacity() -> None:
    with pytest.raises(ValueError, match="0"):
        JitterBuffer(0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 400), st.booleans()), max_size=40),
)
def test_the_output_is_as_long_as_the_head_has_moved(steps: list[tuple[int, int, bool]]) -> None:
    timeline = JitterBuffer(6000)
    total = 0
    for slot, size, force in steps:
        timeline.put(slot * 240, piece(slot * 240, size))
        out = timeline.fill(timeline.head + 240) if force else timeline.take(timeline.head + 480)
        total += len(out)
        assert total == timeline.head and total % GRAIN == 0
        assert timeline.end <= timeline.head + 6000
