"""The client that speaks through an avatar, against a running server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from client.avatar import Avatar, Pcm
from client.errors import Refused, Unreachable
from server.speech.speech import CAPACITY_S
from tests.fakes_voice import FakeVoices
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]
RATE = 24_000


def hum(seconds: float) -> Pcm:
    at = np.arange(round(seconds * RATE)) / RATE
    return (8000 * np.sin(2 * np.pi * 220 * at)).astype(np.int16)


def url(served: Served) -> str:
    served.manager.voices = FakeVoices()
    return str(served.http.make_url("/"))


async def test_text_and_sound_are_heard_in_order(served: Served) -> None:
    async with Avatar(url(served), "mira") as avatar:
        text = await avatar.say("one two")
        sound = await avatar.speak(hum(0.3), RATE)
        assert (await text.finished).position_ms == 500
        assert [word["text"] for word in text.words] == ["one", "two"]
        heard = await sound.finished
        assert heard.position_ms == 300 and not heard.interrupted and not heard.error
    assert not served.manager.sessions


async def test_sound_may_come_as_it_is_made(served: Served) -> None:
    async def made() -> AsyncIterator[Pcm | bytes]:
        yield hum(0.1)
        yield hum(0.1).tobytes()

    async with Avatar(url(served), "mira") as avatar:
        assert (await (await avatar.speak(made(), RATE)).finished).position_ms == 200


async def test_sound_that_fails_while_it_is_made_does_not_hold_up_what_follows(
    served: Served,
) -> None:
    async def fails() -> AsyncIterator[Pcm | bytes]:
        yield hum(0.1)
        raise RuntimeError("the model failed")

    async with Avatar(url(served), "mira") as avatar:
        with pytest.raises(RuntimeError):
            await avatar.speak(fails(), RATE)
        async with asyncio.timeout(10):
            assert (await (await avatar.speak(hum(0.2), RATE)).finished).position_ms == 200
        with pytest.raises(ValueError, match="8000 to 192000 Hz"):
            await avatar.speak(hum(0.1), 12)


async def test_a_clear_is_never_held_up_by_sound_that_waits_to_be_sent(served: Served) -> None:
    async with Avatar(url(served), "mira") as avatar:
        begun = asyncio.Event()
        avatar.on_event = lambda e: begun.set() if e["type"] == "utterance_started" else None
        sending = asyncio.create_task(avatar.speak(hum(CAPACITY_S + 20), RATE))
        async with asyncio.timeout(20):
            await begun.wait()
            assert not sending.done(), "the rest waits here"
            await avatar.clear()
            heard = await (await sending).finished
            assert heard.interrupted and heard.position_ms < 20_000
            assert (await (await avatar.speak(hum(0.2), RATE)).finished).position_ms == 200


async def test_refusals_reach_who_asked(served: Served) -> None:
    async with Avatar(url(served), "mira") as avatar:
        with pytest.raises(Refused, match="nothing to say"):
            await (await avatar.say("...")).finished
    with pytest.raises(Refused, match="unknown-avatar"):
        async with Avatar(url(served), "nobody"):
            pass
    with pytest.raises(Unreachable):
        async with Avatar("http://127.0.0.1:9", "mira"):
            pass


async def test_a_session_whose_door_does_not_open_is_not_left_behind(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shut(self: Avatar) -> None:
        raise Unreachable("the door cannot be opened")

    monkeypatch.setattr(Avatar, "_connected", shut)
    with pytest.raises(Unreachable):
        async with Avatar(url(served), "mira"):
            pass
    assert not served.manager.sessions and served.manager.slots.taken == 0


async def test_the_end_of_the_session_ends_what_was_sent(served: Served) -> None:
    async with Avatar(url(served), "mira") as avatar:
        utterance = await avatar.speak(hum(5.0), RATE)
        await utterance.started
        await served.manager.sessions[0].end("the test ends it")
        assert (await utterance.finished).interrupted
