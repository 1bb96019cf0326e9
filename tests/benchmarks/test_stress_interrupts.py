"""A short share of the interrupts, and that they notice what they look for."""

from __future__ import annotations

import pytest

from benchmarks.stress import interrupts
from server.media.interrupt_boundary import InterruptBoundary


def test_no_reply_loses_a_sample_and_nobody_is_heard_who_did_not_speak() -> None:
    found = interrupts.run(rounds=15, seed=3)
    assert found == {"rounds": 15, "lost": 0, "old": 0, "ghosts": 0}


def test_packets_that_an_interrupt_has_overtaken_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InterruptBoundary, "overtaken", lambda self, sequence, now: False)
    with pytest.raises(RuntimeError, match="interrupts with replies"):
        interrupts.run(rounds=10, seed=3)
