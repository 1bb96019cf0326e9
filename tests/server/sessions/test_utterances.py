"""Utterances of a running session, as a caller hears them."""

from __future__ import annotations

import numpy as np
import pytest

from server.sessions.session import Session
from tests.fakes_voice import FakeVoice, FakeVoices
from tests.server.caller import Caller, calling, silence, tone, voice as babble
from tests.server.conftest import Served


@pytest.fixture(autouse=True)
def voice(served: Served) -> FakeVoice:
    voices = FakeVoices()
    served.manager.voices = voices
    return voices.voice


def session_of(served: Served) -> Session:
    return served.manager.sessions[0]


def loudest(caller: Caller, since: int) -> int:
    """The pitch that was heard most, from a block on."""
    pcm = np.concatenate([f.to_ndarray().reshape(-1, 2)[:, 0] for _, f in caller.sounds[since:]])
    spectrum = np.abs(np.fft.rfft(pcm.astype(float)))
    return round(float(spectrum.argmax()) * 48_000 / len(pcm))


async def test_a_text_is_spoken_in_place_of_the_callers_voice(served: Served) -> None:
    async with calling(served.http, tone) as caller:
        await caller.event("ready")
        caller.send(type="say", text="one two three four", id="a")
        assert (await caller.event("utterance_accepted"))["id"] == "a"
        started = await caller.event("utterance_started", id="a")
        since = len(caller.sounds) + 10  # what a receiver still holds
        finished = await caller.event("utterance_finished", id="a")
        assert (started["text"], finished["position_ms"]) == ("one two three four", 1000)
        assert finished["media_time"] - started["media_time"] >= 15_998
        assert abs(loudest(caller, since) - 220) < 5, "the voice hums at 220 Hz, the caller at 300"
        words = [e["text"] for e in caller.events if e["type"] == "word"]
        assert words == ["one", "two", "three", "four"]


async def test_a_text_that_cannot_be_spoken_is_refused_by_its_name(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.send(type="say", text="?!", id="a")
        assert (await caller.event("error", code="text_refused"))["id"] == "a"
        caller.send(type="say", text="Hi", id="b", voice="nobody")
        assert "there is hum" in (await caller.event("error", id="b"))["message"]


async def test_an_interrupt_ends_utterances_and_says_how_far_they_came(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.send(type="say", text="word " * 40, id="a")
        caller.send(type="say", text="never heard", id="b")
        started = await caller.event("utterance_started", id="a")
        await caller.event("word", start_ms=500)
        caller.send(type="clear")
        first = await caller.event("utterance_finished", id="a")
        second = await caller.event("utterance_finished", id="b")
        cleared = await caller.event("cleared")
        assert first["interrupted"] and second["interrupted"] and second["position_ms"] == 0
        heard_ms = (cleared["media_time"] - started["media_time"]) / 16
        assert 500 <= first["position_ms"] <= heard_ms + 1 and heard_ms < 5000
        caller.send(type="say", text="reply", id="c")
        assert (await caller.event("utterance_finished", id="c"))["position_ms"] == 250


async def test_a_pause_is_silent_and_goes_on_where_it_was_heard(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.send(type="say", text="word " * 8, id="a")
        await caller.event("word", start_ms=250)
        caller.send(type="pause")
        await caller.event("paused")
        count = len(caller.sounds)
        await caller.until(lambda: len(caller.sounds) >= count + 30)
        late = [f.to_ndarray() for _, f in caller.sounds[count + 15 : count + 30]]
        assert max(int(np.abs(block).max()) for block in late) < 200
        caller.send(type="resume")
        finished = await caller.event("utterance_finished", id="a")
        assert (finished["position_ms"], finished["interrupted"]) == (2000, False)
        assert sum(e["type"] == "utterance_started" for e in caller.events) == 1


async def test_who_is_listened_to_counts_as_speaking_and_is_not_performed(served: Served) -> None:
    async with calling(served.http, babble, listen="1") as caller:
        await caller.until(lambda: session_of(served).receiver.speaking)
        await caller.until(lambda: len(caller.sounds) >= 60)
        assert max(int(np.abs(f.to_ndarray()).max()) for _, f in caller.sounds[-20:]) < 200


async def test_an_utterance_has_a_style_and_the_session_its_own(
    served: Served, voice: FakeVoice
) -> None:
    async with calling(served.http, silence, prompt="calm") as caller:
        await caller.event("ready")
        caller.send(type="say", text="one", id="a", style="warm")
        await caller.event("utterance_finished", id="a")
        assert voice.styles == ["warm"]
        await caller.until(lambda: served.pipeline.streams[-1].prompts == ["warm", "calm"])


async def test_the_end_of_a_session_ends_its_utterances(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        caller.send(type="say", text="word " * 40, id="a")
        await caller.event("utterance_started", id="a")
        session = session_of(served)
        (utterance,) = session.speech.unfinished
        await served.http.delete(caller.session, headers=caller.auth)
        assert utterance.finished is not None and utterance.finished.interrupted
