"""A voice that hums a quarter of a second for each word, and knows when each one sounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np

from server.errors import TextRefused, UnknownVoice, VoiceFailed
from server.speech.voice import NoVoices, Offered, SpeechChunk, Timed

WORD_S = 0.25


@dataclass
class FakeVoice:
    """Says ``oops`` by failing; with a ``gate`` it waits before each word until that is set."""

    name: str = "hum"
    language: str = "en"
    sample_rate: int = 22_050
    gate: asyncio.Event | None = None
    styles: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    closed: int = 0

    def check(self, text: str) -> None:
        if not any(letter.isalnum() for letter in text):
            raise TextRefused("There is nothing to say in this text.")

    async def speak(self, text: str, *, style: str = "") -> AsyncGenerator[SpeechChunk, None]:
        self.styles.append(style)
        try:
            for index, word in enumerate(text.split()):
                if self.gate is not None:
                    await self.gate.wait()
                if word == "oops":
                    raise VoiceFailed("The voice lost its breath.")
                self.said.append(word)
                at = np.arange(int(WORD_S * self.sample_rate)) / self.sample_rate
                pcm = (6000 * np.sin(2 * np.pi * 220 * at)).astype(np.int16)
                timed = Timed(word, index * WORD_S, (index + 1) * WORD_S)
                yield SpeechChunk(pcm, (timed,))
        finally:
            self.closed += 1


@dataclass
class FakeVoices(NoVoices):
    """One voice, whoever asks."""

    voice: FakeVoice = field(default_factory=FakeVoice)

    def offered(self) -> list[Offered]:
        return [Offered(self.voice.name, self.voice.language, True)]

    def choose(self, name: str, avatar: str) -> FakeVoice:
        if name not in ("", self.voice.name):
            raise UnknownVoice(f"There is no voice {name!r}; there is {self.voice.name}.")
        return self.voice
