"""A chat and a recogniser of somebody else's: what becomes of what they send, and of failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from server.errors import ChatFailed, RecognitionFailed
from tests.fakes_services import Services, delta, running

DONE = b"data: [DONE]\n\n"


async def said(pieces: Sequence[bytes], **how: object) -> list[str]:
    async with running(Services(pieces, **how)) as services:  # type: ignore[arg-type]
        return [sentence async for sentence in services.chat.sentences([])]


async def test_an_answer_is_cut_into_sentences_wherever_its_pieces_end() -> None:
    whole = b"".join(delta(part) for part in ("Hel", "lo. ", "It is", " five", ". So.")) + DONE
    pieces = [b": alive\n\n", *(whole[at : at + 7] for at in range(0, len(whole), 7))]
    assert await said(pieces) == ["Hello.", "It is five.", "So."]


async def test_the_first_sentence_comes_before_the_answer_has_ended() -> None:
    gate = asyncio.Event()
    async with running(Services([delta("One. Two"), delta(" three."), DONE], gate=gate)) as found:
        sentences = found.chat.sentences([{"role": "user", "content": "hi"}])
        assert await anext(sentences) == "One."
        gate.set()
        assert [sentence async for sentence in sentences] == ["Two three."]
    (asked,) = found.asked
    assert asked["key"] == "Bearer k" and asked["stream"] and asked["model"] == "small"
    assert asked["messages"] == [{"role": "user", "content": "hi"}]


async def test_thoughts_are_not_spoken() -> None:
    parts = ("<thi", "nk>\nWhat now? Hm.\n", "</think>\n\nYes. ", "Now.")
    assert await said([*map(delta, parts), DONE]) == ["Yes.", "Now."]


async def test_a_service_that_does_not_stream_is_spoken_too() -> None:
    body = b'{"choices": [{"message": {"content": "One. Two."}}]}'
    assert await said([body], kind="application/json") == ["One.", "Two."]


async def test_an_endless_answer_is_left() -> None:
    sentences = await said([delta("This is a sentence. ")] * 1000)
    assert 3900 < sum(map(len, sentences)) <= 4100


@pytest.mark.parametrize(
    ("pieces", "how", "why"),
    [
        ([b"data: {}\n\n"], {}, "format of OpenAI"),
        ([b"data: <html>\n\n"], {}, "format of OpenAI"),
        ([b'data: {"error": {"message": "out of memory"}}\n\n'], {}, "out of memory"),
        ([DONE], {}, "no text"),
        ([b"data: " + b"x" * 300_000], {}, "262144 bytes"),
        ([b"wrong key"], {"status": 401}, "401.*chat_key"),
        ([b"no model"], {"status": 404}, "chat_url.*chat_model"),
        ([delta("One")], {"cut": True}, "does not answer"),
        ([delta("One")], {"gate": asyncio.Event()}, "does not answer"),
    ],
    ids=["empty", "html", "error", "nothing", "huge", "key", "model", "cut off", "too slow"],
)
async def test_a_chat_that_fails_says_why(
    pieces: Sequence[bytes], how: dict[str, object], why: str
) -> None:
    with pytest.raises(ChatFailed, match=why):
        await said(pieces, **how)


async def test_what_came_before_a_cut_is_spoken() -> None:
    async with running(Services([delta("One. Two. Thr")], cut=True)) as services:
        sentences = services.chat.sentences([])
        assert [await anext(sentences), await anext(sentences)] == ["One.", "Two."]
        with pytest.raises(ChatFailed):
            await anext(sentences)


async def test_speech_is_sent_as_a_wav_and_its_words_come_back() -> None:
    async with running(Services(words=" Hello there. ")) as services:
        assert await services.recognizer.text(np.zeros(8000, np.float32)) == "Hello there."
        assert services.heard_s == [0.5]
        services.status = 500
        with pytest.raises(RecognitionFailed, match="500.*transcribe_url"):
            await services.recognizer.text(np.zeros(8000, np.float32))
