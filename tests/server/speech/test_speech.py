"""Utterances from acceptance to their end, on a timeline of the test's own."""

from __future__ import annotations

import asyncio
import wave
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from server.errors import BadRequest, QueueFull, TextRefused, UnknownSession
from server.speech.resampling import To48k
from server.speech.sound_file import wav
from server.speech.speech import CAPACITY_S, SOURCES, STALLED_S, Source, Speech
from server.speech.utterance import RATE, Mark, Pcm, Utterance
from tests.fakes_voice import WORD_S, FakeVoice

BLOCK = 960


def ramp(start: int, size: int) -> Pcm:
    """Samples that say where they are from: each is its own number, below 30,000."""
    return ((start + np.arange(size)) % 30_000 + 1).astype(np.int16)


class Timeline:
    """Takes what is to be said a block at a time; plays it 10 blocks later."""

    delay = 10 * BLOCK

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.styles: list[str] = []
        self.speech = Speech(self._tell, self.styles.append)
        self.pcm = np.zeros(0, np.int16)

    def _tell(self, kind: str, **fields: object) -> None:
        self.events.append({"type": kind, **fields})

    @property
    def head(self) -> int:
        return len(self.pcm)

    @property
    def playing(self) -> int:
        return max(0, self.head - self.delay)

    def run(self, blocks: int) -> None:
        for _ in range(blocks):
            pcm = self.speech.take(self.head, BLOCK)
            self.pcm = np.concatenate([self.pcm, pcm, np.zeros(BLOCK - len(pcm), np.int16)])
            self.speech.played(self.playing)

    def cut(self) -> None:
        self.pcm[self.playing :] = 0

    def clear(self) -> None:
        self.speech.clear(self.playing)
        self.cut()

    def pause(self) -> None:
        self.speech.pause(self.playing, lambda at, size: self.pcm[at : at + size].copy())
        self.cut()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def spoken(self) -> Pcm:
        return self.pcm[self.pcm != 0]


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


async def say(source: Source, name: str, pcm: Pcm, end: bool = True, **more: Any) -> Utterance:
    utterance = source.begin(name, **more)
    await source.write(utterance, pcm)
    if end:
        utterance.end()
    return utterance


async def test_utterances_are_spoken_in_order_and_whole(timeline: Timeline) -> None:
    source = timeline.speech.open()
    for index in range(3):
        await say(source, f"u{index}", ramp(index * 6000, 6000))
    assert timeline.speech.busy
    timeline.run(40)
    assert np.array_equal(timeline.spoken, ramp(0, 18_000))
    assert [(e["type"], e["id"]) for e in timeline.events] == [
        (kind, f"u{index}")
        for index in range(3)
        for kind in ("utterance_started", "utterance_finished")
    ]
    for index, event in enumerate(timeline.of("utterance_finished")):
        assert event["position_ms"] == 125 and event["interrupted"] is False
        assert event["media_time"] == (index + 1) * 2000
    assert not timeline.speech.busy


async def test_an_open_utterance_is_spoken_as_it_comes_and_gaps_do_not_count(
    timeline: Timeline,
) -> None:
    source = timeline.speech.open()
    first = await say(source, "u", ramp(0, 2 * BLOCK), end=False)
    timeline.run(20)
    assert timeline.of("utterance_started") and not timeline.of("utterance_finished")
    await source.write(first, ramp(2 * BLOCK, BLOCK + 1))
    first.end()
    timeline.run(20)
    assert np.array_equal(timeline.spoken, ramp(0, 3 * BLOCK + 1))
    (finished,) = timeline.of("utterance_finished")
    assert finished["position_ms"] == 60
    assert finished["media_time"] * 3 == 20 * BLOCK + BLOCK + 3


async def test_a_position_is_what_was_played_until_the_cut(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "gone", ramp(0, 5 * BLOCK))
    await say(source, "cut", ramp(0, 100 * BLOCK))
    await say(source, "never", ramp(0, 5 * BLOCK))
    timeline.run(28)  # 18 blocks were played, 5 of them of the first
    timeline.clear()
    ended = {
        e["id"]: (e["position_ms"], e["interrupted"]) for e in timeline.of("utterance_finished")
    }
    assert ended == {"gone": (100, False), "cut": (260, True), "never": (0, True)}
    assert [e["media_time"] for e in timeline.of("utterance_finished")[1:]] == [18 * 320] * 2
    timeline.run(20)
    assert len(timeline.of("utterance_finished")) == 3 and not timeline.speech.busy


async def test_what_still_comes_of_a_cleared_utterance_is_not_spoken(timeline: Timeline) -> None:
    source = timeline.speech.open()
    cleared = await say(source, "a", ramp(0, BLOCK), end=False)
    timeline.run(1)
    timeline.clear()
    assert await source.write(cleared, ramp(0, BLOCK)) is False
    await say(source, "b", ramp(500, BLOCK))
    timeline.run(20)
    assert np.array_equal(timeline.spoken, ramp(500, BLOCK)), "the reply is whole from its start"


async def test_a_pause_takes_back_what_was_not_played_and_loses_nothing(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "a", ramp(0, 20 * BLOCK))
    await say(source, "b", ramp(20 * BLOCK, 3 * BLOCK))
    timeline.run(26)  # b is wholly on its way, a is heard up to 16 blocks
    timeline.pause()
    timeline.run(30)
    assert timeline.speech.busy and not timeline.of("utterance_finished")
    timeline.speech.resume()
    timeline.run(30)
    assert np.array_equal(timeline.spoken, ramp(0, 23 * BLOCK))
    assert [e["id"] for e in timeline.of("utterance_started")] == ["a", "b"]
    assert [e["position_ms"] for e in timeline.of("utterance_finished")] == [400, 60]


async def test_a_clear_while_it_pauses_ends_everything(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "a", ramp(0, 20 * BLOCK))
    timeline.run(15)
    timeline.pause()
    timeline.clear()
    (finished,) = timeline.of("utterance_finished")
    assert (finished["position_ms"], finished["interrupted"]) == (100, True)
    await say(source, "b", ramp(0, BLOCK))
    timeline.run(15)
    assert [e["id"] for e in timeline.of("utterance_started")] == ["a", "b"], "it speaks again"


async def test_a_sender_waits_while_its_speech_waits_and_nothing_is_lost(
    timeline: Timeline,
) -> None:
    source, seconds = timeline.speech.open(), CAPACITY_S + 12
    sent = asyncio.create_task(_burst(source, seconds))
    while not timeline.of("utterance_finished"):
        for _ in range(3):
            await asyncio.sleep(0)
        assert sum(u.waiting for u in timeline.speech.waiting) <= (CAPACITY_S + 1) * RATE
        assert source.sent <= source.credit
        timeline.run(25)
    await sent
    assert np.array_equal(timeline.spoken, ramp(0, seconds * RATE))
    assert source.sent == seconds * RATE and source.credit == source.sent + CAPACITY_S * RATE


async def _burst(source: Source, seconds: int) -> None:
    utterance = source.begin("long")
    for second in range(seconds):
        await source.write(utterance, ramp(second * RATE, RATE))
    utterance.end()


async def test_a_hundred_utterances_between_clears_end_once_each(timeline: Timeline) -> None:
    source, names = timeline.speech.open(), [f"u{index}" for index in range(100)]
    for index, name in enumerate(names):
        await say(source, name, ramp(0, (index % 7) * BLOCK), end=index % 5 != 0)
        timeline.run(index % 4)
        if index % 3 == 0:
            timeline.clear()
    source.close()
    timeline.run(400)
    assert sorted(e["id"] for e in timeline.of("utterance_finished")) == sorted(names)
    started = [e["id"] for e in timeline.of("utterance_started")]
    assert len(started) == len(set(started)) and not timeline.speech.busy


async def test_who_has_gone_leaves_what_has_come_to_be_spoken(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "a", ramp(0, 2 * BLOCK), end=False)
    source.close()
    timeline.run(20)
    assert timeline.of("utterance_finished")[0]["position_ms"] == 40


async def test_senders_and_utterances_are_bounded(timeline: Timeline) -> None:
    source = timeline.speech.open()
    others = [timeline.speech.open() for _ in range(SOURCES - 1)]
    with pytest.raises(QueueFull, match="8 senders"):
        timeline.speech.open()
    others[0].close()
    timeline.speech.open()
    for _ in range(timeline.speech.left):
        source.begin("")
    with pytest.raises(QueueFull, match="256 utterances"):
        source.begin("")
    timeline.clear()
    assert timeline.speech.left == 256


async def test_whoever_comes_after_the_end_is_refused(timeline: Timeline) -> None:
    open_one = await say(timeline.speech.posted, "a", ramp(0, BLOCK), end=False)
    timeline.speech.close(timeline.playing)
    assert open_one.finished is not None and open_one.finished.interrupted
    with pytest.raises(UnknownSession):
        timeline.speech.posted.begin("b")
    assert len(timeline.of("utterance_finished")) == 1


def test_what_follows_the_sound_in_a_wav_is_not_spoken() -> None:
    sound, tags = ramp(0, 1600), b"LIST" + (4000).to_bytes(4, "little") + bytes(4000)
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(sound.tobytes())
    found = wav(file.getvalue() + tags)
    assert found is not None
    read, rest = found
    halves = read(rest[:1000]), read(rest[1000:]), read(b"more")
    assert np.array_equal(np.concatenate(halves), sound)


async def test_a_name_is_one_utterances_alone(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "a", ramp(0, BLOCK))
    with pytest.raises(BadRequest, match="'a' waits already"):
        source.begin("a")
    timeline.run(20)
    assert source.begin("a").id == "a" and source.begin("").id != source.begin("").id


async def test_an_utterance_of_which_nothing_comes_does_not_hold_up_the_others(
    timeline: Timeline,
) -> None:
    source = timeline.speech.open()
    await say(source, "stuck", ramp(0, BLOCK), end=False)
    await say(source, "next", ramp(0, BLOCK))
    timeline.run(20)
    timeline.speech.watch(100.0)
    timeline.speech.watch(100.0 + STALLED_S)
    timeline.run(20)
    assert not timeline.of("utterance_finished")
    timeline.speech.watch(100.1 + STALLED_S)
    timeline.run(20)
    first, second = timeline.of("utterance_finished")
    assert first["interrupted"] and first["error"]["type"] == "/problems/speech-stalled"
    assert first["position_ms"] == 20 and not second["interrupted"]


async def test_cues_are_told_when_they_are_heard(timeline: Timeline) -> None:
    source = timeline.speech.open()
    cues = [Mark(3 * BLOCK, "cue", {"name": "wave"}), Mark(10**9, "cue", {"name": "bow"})]
    timeline.run(7)
    await say(source, "a", ramp(0, 5 * BLOCK), cues=cues)
    timeline.run(13)
    assert not timeline.of("cue")
    timeline.run(10)
    assert timeline.of("cue") == [
        {"type": "cue", "id": "a", "media_time": 10 * 320, "name": "wave"},
        {"type": "cue", "id": "a", "media_time": 12 * 320, "name": "bow"},
    ]


async def test_a_style_holds_for_its_utterance(timeline: Timeline) -> None:
    source = timeline.speech.open()
    await say(source, "a", ramp(0, BLOCK))
    await say(source, "b", ramp(0, BLOCK), style="warm")
    await say(source, "c", ramp(0, BLOCK))
    timeline.run(20)
    assert timeline.styles == ["warm", ""]


class TestTexts:
    async def test_are_read_in_order_and_their_words_told_when_heard(
        self, timeline: Timeline
    ) -> None:
        voice = FakeVoice()
        timeline.speech.say("one two", voice, "a", style="calm")
        timeline.speech.say("three", voice, "b")
        await self.read(timeline)
        timeline.run(60)
        assert [(e["id"], e["text"]) for e in timeline.of("word")] == [
            ("a", "one"), ("a", "two"), ("b", "three"),
        ]  # fmt: skip
        assert timeline.of("word")[1]["start_ms"] == 250
        assert timeline.of("word")[2]["media_time"] == 2 * WORD_S * 16_000
        assert [e["text"] for e in timeline.of("utterance_started")] == ["one two", "three"]
        assert [e["position_ms"] for e in timeline.of("utterance_finished")] == [500, 250]
        assert voice.styles == ["calm", ""]

    async def test_that_cannot_be_spoken_are_refused_before_they_are_accepted(
        self, timeline: Timeline
    ) -> None:
        with pytest.raises(TextRefused):
            timeline.speech.say("...", FakeVoice())
        assert not timeline.speech.busy

    async def test_whose_voice_fails_end_where_it_failed(self, timeline: Timeline) -> None:
        timeline.speech.say("one oops two", FakeVoice(), "a")
        timeline.speech.say("three", FakeVoice(), "b")
        await self.read(timeline)
        timeline.run(60)
        first, second = timeline.of("utterance_finished")
        assert first["error"]["detail"] == "The voice lost its breath."
        assert first["interrupted"] and 200 <= first["position_ms"] <= 250
        assert not second["interrupted"] and second["position_ms"] == 250

    async def test_stop_being_read_when_they_are_cleared(self, timeline: Timeline) -> None:
        voice = FakeVoice(gate=asyncio.Event())
        timeline.speech.say("one two", voice, "a")
        timeline.speech.say("three", voice, "b")
        reader = asyncio.create_task(timeline.speech.reader.run())
        await self.settle()
        timeline.clear()
        assert voice.gate is not None
        voice.gate.set()
        await self.settle()
        assert voice.said == [] and voice.closed == 1
        assert [e["id"] for e in timeline.of("utterance_finished")] == ["a", "b"]
        timeline.speech.say("four", voice, "c")
        await self.settle()
        assert voice.said == ["four"]
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

    async def test_are_read_a_little_ahead_only(self, timeline: Timeline) -> None:
        voice = FakeVoice()
        timeline.speech.say("word " * 100, voice, "long")
        reader = asyncio.create_task(timeline.speech.reader.run())
        await self.settle()
        assert 30 <= len(voice.said) <= 34, "eight seconds of four words each"
        timeline.run(100)
        await self.settle()
        assert 38 <= len(voice.said) <= 42
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert voice.closed == 1

    async def read(self, timeline: Timeline) -> None:
        reader = asyncio.create_task(timeline.speech.reader.run())
        await self.settle()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(400):
            await asyncio.sleep(0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_sound_of_any_rate_keeps_its_length_and_its_pitch(rate: int) -> None:
    convert, at = To48k(rate), np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
    pieces = [convert(piece) for piece in np.array_split(tone, 37)]
    pcm = np.concatenate([*pieces, convert.flush()])
    assert len(pcm) == RATE
    spectrum = np.abs(np.fft.rfft(pcm.astype(float)))
    assert int(spectrum.argmax()) == 440


def test_a_rate_that_no_sound_has_is_refused() -> None:
    with pytest.raises(ValueError, match="8000 to 192000 Hz, not 12"):
        To48k(12)
