"""A few interrupts of a whole session with replies, and that they notice what they look for."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.stress import replies, virtual_time
from server.media.interrupt_boundary import InterruptBoundary
from server.media.vad import VoiceActivityDetector
from server.sessions.utterances import Utterances


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "SETTLES_S", 1.0)


def test_every_sample_of_a_reply_leaves_and_one_utterance_is_told() -> None:
    assert replies.run(rounds=3, seed=3) == {"rounds": 3, "lost": 0, "old": 0, "ghosts": 0}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (InterruptBoundary, "overtaken"),
        (VoiceActivityDetector, "interrupt"),
        (Utterances, "interrupt"),
    ],
)
def test_what_an_interrupt_leaves_undone_is_noticed(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, lambda *_: None)
    found = replies.run(rounds=3, seed=3)
    assert found["lost"] or found["old"] or found["ghosts"]


def test_virtual_time_leaps_over_sleep_and_keeps_its_order() -> None:
    order = list[str]()

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def main() -> float:
        await asyncio.gather(sleeper("late", 3600.0), sleeper("early", 60.0))
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert virtual_time.run(main()) == pytest.approx(3600.0)
    assert order == ["early", "late"] and time.monotonic() - began < 60


def test_virtual_time_refuses_to_wait_for_what_never_comes() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="never comes"):
        virtual_time.run(main())
