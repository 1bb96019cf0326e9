"""Voices: where text is cut, which voice is chosen, and what a service's answer becomes."""

from __future__ import annotations

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.errors import NoVoice, TextRefused, UnknownVoice, VoiceFailed
from server.speech.endpoint import Endpoint
from server.speech.voices import catalog, embedded, espeak, reading
from server.speech.voices.catalog import VoiceCatalog, find_voices
from server.speech.voices.embedded import EmbeddedVoice, Synthesizer
from server.speech.voices.espeak import EspeakVoice
from server.speech.voices.remote import RemoteVoice
from server.speech.voices.sentences import LONGEST, sentences

NOWHERE = Endpoint("voice", "", "", "")


def test_sentences_end_where_a_reader_pauses() -> None:
    text = "The U.S. GDP grew. It is No. 5! “Is it?” he said. Dr. Smith has 3.5.\nNext"
    assert sentences(text) == [
        "The U.S. GDP grew.",
        "It is No. 5!",
        "“Is it?” he said.",
        "Dr. Smith has 3.5.",
        "Next",
    ]


def test_a_sentence_without_end_is_cut_between_words_and_nothing_is_lost() -> None:
    text = "word " * 300
    parts = sentences(text)
    assert max(map(len, parts)) <= LONGEST and " ".join(parts).split() == text.split()


def test_layout_and_emoji_are_not_read_and_addresses_are() -> None:
    assert reading.plain("**Hi** `there`, [you](http://x) 👋") == "Hi there, you"
    spelled = reading.addresses_spelled("See https://www.example.com/a-b?q=1.")
    assert spelled == "See example dot com slash a dash b."


@pytest.mark.parametrize("text", ["", " … !", "👋"])
def test_text_that_cannot_be_said_is_refused(text: str) -> None:
    with pytest.raises(TextRefused):
        reading.check(text)


def wav(rate: int, pcm: bytes, channels: int = 1) -> bytes:
    form = (1).to_bytes(2, "little") + channels.to_bytes(2, "little") + rate.to_bytes(4, "little")
    form += (
        (2 * rate).to_bytes(4, "little") + (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    )
    unknown = b"\xff\xff\xff\xff"
    return (
        b"RIFF"
        + unknown
        + b"WAVEfmt "
        + (16).to_bytes(4, "little")
        + form
        + b"data"
        + unknown
        + pcm
    )


async def said(body: bytes, kind: str = "audio/wav") -> np.ndarray:
    """What is heard of a service's answer."""

    async def speech(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind)

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    async with TestServer(app) as server:
        voice = RemoteVoice("alloy", Endpoint("voice", str(server.make_url("/v1")), "", "m"))
        return np.concatenate([chunk.pcm async for chunk in voice.speak("One.")])


async def test_pcm_and_wav_of_any_rate_are_heard_whole() -> None:
    tone = (8000 * np.sin(np.arange(24_000) / 10)).astype("<i2")
    for body, seconds in ((tone.tobytes(), 1.0), (wav(16_000, tone.tobytes()), 1.5)):
        heard = await said(body, "audio/wav" if body[:4] == b"RIFF" else "audio/pcm")
        assert len(heard) == seconds * 48_000 and 7000 < np.abs(heard).max() < 9000


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (b"", "audio/pcm", "no sound"),
        (b"ID3", "audio/mpeg", "audio/mpeg"),
        (wav(16_000, bytes(80_000)).replace(b"\x10\0data", b"\x20\0data"), "audio/wav", "16-bit"),
        (wav(900, bytes(800)), "audio/wav", "900"),
    ],
)
async def test_an_answer_without_usable_sound_is_said(body: bytes, kind: str, why: str) -> None:
    with pytest.raises(VoiceFailed, match=f"{why}.*must stream pcm of 24000 Hz, or wav"):
        await said(body, kind)


async def test_a_service_is_asked_sentence_by_sentence_and_streamed() -> None:
    asked: list[dict[str, object]] = []

    async def speech(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer k"
        asked.append(await request.json())
        return web.Response(body=b"\1\0" * 100, content_type="audio/pcm")

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    async with TestServer(app) as server:
        endpoint = Endpoint("voice", str(server.make_url("/v1")), "k", "m")
        voice = RemoteVoice("alloy", endpoint)
        chunks = [chunk.pcm async for chunk in voice.speak("One. Two.", style="calm")]
    assert [body["input"] for body in asked] == ["One.", "Two."]
    assert asked[0]["instructions"] == "calm" and asked[0]["voice"] == "alloy"
    assert len(np.concatenate(chunks)) == 2 * 2 * 100  # at 48 kHz


async def test_a_service_that_refuses_says_which_setting_to_check() -> None:
    app = web.Application()  # which knows no path: 404
    async with TestServer(app) as server:
        voice = RemoteVoice("alloy", Endpoint("voice", str(server.make_url("/")), "", "m"))
        with pytest.raises(VoiceFailed, match="404.*voice_url.*voice_model"):
            await anext(voice.speak("One."))
        gone = voice.endpoint
    with pytest.raises(VoiceFailed, match="does not answer.*voice_url"):
        await anext(RemoteVoice("alloy", gone).speak("One."))


def chosen(**suits: str) -> VoiceCatalog:
    voices = {name: EmbeddedVoice(name, Synthesizer()) for name in ("heart", "heart-low")}
    named = voices | {"espeak-de": EspeakVoice("de")}
    return VoiceCatalog(named, "heart", "", suits=lambda avatar: suits.get(avatar, ""))


def test_a_voice_is_chosen_by_name_by_language_and_by_avatar() -> None:
    found = chosen(omar="man", mira="woman")
    assert found.choose("", "omar").name == "heart-low"
    assert found.choose("", "mira").name == found.choose("", "own").name == "heart"
    assert found.choose("espeak-de", "mira").name == found.choose("de", "mira").name == "espeak-de"
    assert found.choose("en", "mira").name == "heart"
    with pytest.raises(UnknownVoice, match="heart"):
        found.choose("nobody", "mira")
    assert [voice.natural for voice in found.offered()] == [True, True, False]


def test_what_is_missing_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "installed", lambda: False)
    monkeypatch.setattr(espeak, "installed", lambda: False)
    none = find_voices(NOWHERE, "", lambda avatar: "")
    with pytest.raises(NoVoice, match="hibari-tts.*voice_url"):
        none.choose("", "mira")
    monkeypatch.setattr(espeak, "installed", lambda: True)
    monkeypatch.setattr(espeak, "languages", lambda: ["de", "en-us"])
    poor = find_voices(NOWHERE, "", lambda avatar: "")
    assert poor.choose("", "mira").name == catalog.ESPEAK_DEFAULT and "robot" in poor.notice
    with pytest.raises(UnknownVoice):
        find_voices(NOWHERE, "nobody", lambda avatar: "")
    monkeypatch.setattr(espeak, "languages", lambda: ["de"])
    assert find_voices(NOWHERE, "", lambda avatar: "").choose("", "mira").name == "espeak-de"
    monkeypatch.setattr(embedded, "installed", lambda: True)
    wanted = find_voices(NOWHERE, "heart", lambda avatar: "man")
    assert wanted.choose("", "omar").name == "heart", "the operator's choice is for everybody"
    assert find_voices(NOWHERE, "", lambda avatar: "man").choose("", "omar").name == "heart-low"


async def test_the_embedded_voice_speaks_by_sentence_with_words_in_time() -> None:
    pytest.importorskip("hibari", reason="pip install --no-deps hibari-tts")
    synthesizer = Synthesizer()
    try:
        voice = EmbeddedVoice("heart", synthesizer)
        chunks = [chunk async for chunk in voice.speak("It costs $5. Goodbye.")]
        low = [c async for c in EmbeddedVoice("low", synthesizer, lower=True).speak("It costs $5.")]
    finally:
        await synthesizer.close()
    words = [word for chunk in chunks for word in chunk.words]
    assert len(chunks) == 2 and words[0].text == "It" and words[-1].text == "Goodbye"
    times = [edge for word in words for edge in (word.start_s, word.end_s)]
    total = sum(len(chunk.pcm) for chunk in chunks) / voice.sample_rate
    assert times == sorted(times) and 0 <= times[0] < 0.2 and times[-1] <= total
    assert words[-1].start_s >= len(chunks[0].pcm) / voice.sample_rate
    assert chunks[0].phones[0].text == "ɪ" and len(low[0].pcm)
    with pytest.raises(TextRefused, match="English"):
        voice.check("Привет, мир")


async def test_espeak_speaks_another_language() -> None:
    if not espeak.installed():
        pytest.skip("no espeak-ng here")
    voice = EspeakVoice("de")
    assert "de" in espeak.languages()
    pcm = np.concatenate([chunk.pcm async for chunk in voice.speak("Guten Tag, wie geht es?")])
    assert len(pcm) > voice.sample_rate / 2 and np.abs(pcm).max() > 1000
