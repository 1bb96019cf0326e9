"""Sequence numbers on both sides of an interrupt."""

import pytest

from server.media.interrupt_boundary import OVERTAKEN, InterruptBoundary


@pytest.mark.parametrize("first", [0, 100, 65_535 - 5])  # the last one wraps around
def test_what_was_sent_before_an_interrupt_is_told_from_what_follows(first: int) -> None:
    boundary = InterruptBoundary()
    sent = [(first + k) % 65_536 for k in range(12)]
    assert not any(boundary.overtaken(sequence, 0) for sequence in (*sent[:3], sent[6]))
    boundary.interrupt(now=10)
    assert [boundary.overtaken(sequence, 20) for sequence in sent[3:]] == [True] * 4 + [False] * 5


def test_nobody_is_overtaken_before_the_first_packet_or_long_after_the_interrupt() -> None:
    boundary = InterruptBoundary()
    boundary.interrupt(now=0)
    assert not boundary.overtaken(7, now=0)
    boundary.interrupt(now=0)
    assert boundary.overtaken(6, now=OVERTAKEN - 1) and not boundary.overtaken(6, now=OVERTAKEN)
