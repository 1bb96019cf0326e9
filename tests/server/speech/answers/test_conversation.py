"""A person and an avatar take turns: questions, answers, interruptions, coughs, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from server.media.vad import SpeechBoundary
from server.speech.answers.conversation import Answers, Conversation
from tests.fakes_services import Services, delta, running
from tests.fakes_voice import FakeVoice, FakeVoices
from tests.server.caller import Caller, silence
from tests.server.conftest import Served
from tests.server.sessions.test_utterances import calling, session_of

LONG = "one two three four five six seven eight nine ten. "
SECOND = 16_000


@pytest.fixture
def voice() -> FakeVoice:
    return FakeVoice()


@asynccontextmanager
async def answering(
    served: Served, services: Services, voice: FakeVoice
) -> AsyncIterator[tuple[Caller, Conversation]]:
    """A call whose session answers by these services."""
    served.manager.voices = FakeVoices(voice=voice)
    async with running(services):
        served.manager.answers = Answers(services.chat, services.recognizer, "You sell tea.")
        async with calling(served.http, silence, answers="1") as caller:
            await caller.event("ready")
            conversation = session_of(served).conversation
            assert conversation is not None
            yield caller, conversation


def speak(conversation: Conversation, seconds: float, ends: bool = True) -> None:
    """As the receiver reports a person who speaks."""
    conversation.hear(np.ones(SECOND // 2, np.float32), [])
    conversation.hear(np.ones(320, np.float32), [SpeechBoundary(8000, True)])
    conversation.hear(np.ones(int(seconds * SECOND), np.float32), [])
    if ends:
        end = SpeechBoundary(8000 + int(seconds * SECOND), False)
        conversation.hear(np.zeros(6400, np.float32), [end])


async def test_what_is_asked_is_answered_sentence_by_sentence(
    served: Served, voice: FakeVoice
) -> None:
    services = Services([delta("Good day.\n👋\n"), delta("Tea?")])
    async with answering(served, services, voice) as (caller, _):
        caller.send(type="ask", text="Hello")
        await caller.event("utterance_started", text="Tea?")
        said = [e["text"] for e in caller.events if e["type"] == "utterance_started"]
        assert said == ["Good day.", "Tea?"]
    system, question = services.asked[0]["messages"]
    assert "You are Mira." in system["content"] and "You sell tea." in system["content"]
    assert question == {"role": "user", "content": "Hello"}


async def test_speech_is_recognised_and_answered(served: Served, voice: FakeVoice) -> None:
    services = Services([delta("Yes.")], words="Is it open?")
    async with answering(served, services, voice) as (caller, conversation):
        speak(conversation, 1.0)
        assert (await caller.event("transcript"))["text"] == "Is it open?"
        await caller.event("utterance_finished")
    (heard_s,) = services.heard_s
    assert 1.5 <= heard_s <= 2.5  # from before speech was detected to its end
    assert services.asked[0]["messages"][-1]["content"] == "Is it open?"


async def test_who_speaks_up_is_listened_to_and_what_was_heard_is_remembered(
    served: Served, voice: FakeVoice
) -> None:
    services = Services([delta(LONG), delta(LONG)], words="Stop.")
    async with answering(served, services, voice) as (caller, conversation):
        caller.send(type="ask", text="Count")
        await caller.event("word", text="two")
        speak(conversation, 1.0, ends=False)
        await caller.event("paused")
        services.pieces = [delta("Sorry.")]
        conversation.hear(np.zeros(6400, np.float32), [SpeechBoundary(30_000, False)])
        cut = await caller.event("utterance_finished", interrupted=True)
        await caller.event("utterance_started", text="Sorry.")
        assert 250 < cut["position_ms"] < 2500
    messages = services.asked[1]["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"].startswith("one two") and "ten" not in messages[2]["content"]


async def test_after_a_cough_the_avatar_goes_on(served: Served, voice: FakeVoice) -> None:
    services = Services([delta("one two three four. ")], words="")
    async with answering(served, services, voice) as (caller, conversation):
        caller.send(type="ask", text="Count")
        await caller.event("word", text="one")
        speak(conversation, 0.1)
        await caller.event("resumed")
        assert not services.heard_s  # too short for words
        speak(conversation, 1.0)
        done = await caller.event("utterance_finished")
        assert (done["position_ms"], done["interrupted"]) == (1000, False)
        assert len(services.heard_s) == 1


async def test_a_new_question_leaves_the_answer_that_is_being_made(
    served: Served, voice: FakeVoice
) -> None:
    services = Services([delta("One. Tw"), delta("o.")], gate=asyncio.Event())
    async with answering(served, services, voice) as (caller, _):
        caller.send(type="ask", text="first")
        await caller.event("utterance_started", text="One.")
        services.gate, services.pieces = None, [delta("Three.")]
        caller.send(type="ask", text="second")
        await caller.event("utterance_started", text="Three.")
        said = [e["text"] for e in caller.events if e["type"] == "utterance_started"]
        assert said == ["One.", "Three."]


async def test_a_service_that_fails_is_reported_and_the_next_question_is_answered(
    served: Served, voice: FakeVoice
) -> None:
    services = Services(status=500)
    async with answering(served, services, voice) as (caller, conversation):
        caller.send(type="ask", text="Hello")
        assert "chat_url" in (await caller.event("error", code="chat_failed"))["message"]
        speak(conversation, 1.0)
        await caller.event("error", code="recognition_failed")
        services.status, services.pieces = 200, [delta("Here.")]
        caller.send(type="ask", text="Again")
        await caller.event("utterance_started", text="Here.")


async def test_too_many_questions_are_refused(served: Served, voice: FakeVoice) -> None:
    async with answering(served, Services([delta("Yes.")]), voice) as (caller, _):
        for _ in range(12):
            caller.send(type="ask", text="why")
        await caller.event("error", code="rate_limited")


async def test_a_server_without_a_chat_says_what_to_set(served: Served) -> None:
    told = await (await served.http.get("/v1/answers")).json()
    assert told["text"] is False and "chat_url" in told["notice"]
    refused = await served.http.post("/v1/sessions", json={"avatar": "mira", "answers": True})
    assert refused.status == 422 and "chat_url" in (await refused.json())["detail"]
    async with calling(served.http, silence) as caller:
        await caller.event("ready")
        caller.send(type="ask", text="Hello")
        assert '"answers": true' in (await caller.event("error", code="no_answers"))["message"]
