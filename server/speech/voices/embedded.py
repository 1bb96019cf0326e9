"""The voice that comes with the package: computed here, on its own thread, without a network."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from server.errors import TextRefused, VoiceFailed
from server.speech.voice import SpeechChunk, Timed
from server.speech.voices import reading
from server.speech.voices.hibari_model import HibariMissing, HibariModel
from server.speech.voices.hibari_sound import RATE, Spoken
from server.speech.voices.sentences import sentences

VOICE: Final = "heart"  # of hibari-tts; the only one in its wheel
WARM_UP: Final = "Hello, how are you?"


def installed() -> bool:
    """Whether ``hibari-tts`` is there."""
    return importlib.util.find_spec("hibari") is not None


class Synthesizer:
    """The model and its one thread, shared by all voices and sessions; loaded on first use."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voice")
        self._model: HibariModel | None = None

    async def speak(self, sentence: str, lower: bool) -> list[Spoken]:
        """Raises ``VoiceFailed``."""
        work = partial(self._speak, sentence, lower)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except HibariMissing as failure:
            raise VoiceFailed(str(failure)) from failure

    async def close(self) -> None:
        """Forgets what waits, and waits for what runs."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _speak(self, sentence: str, lower: bool) -> list[Spoken]:
        self._model = self._model or HibariModel(VOICE)
        return list(self._model.speak(sentence, lower))


@dataclass(frozen=True, slots=True)
class EmbeddedVoice:
    """American English. ``lower`` is a man's voice, made from the same model."""

    name: str
    synthesizer: Synthesizer
    lower: bool = False
    language: str = "en-US"
    sample_rate: int = RATE
    natural: bool = True

    def check(self, text: str) -> None:
        """Raises ``TextRefused``."""
        reading.check(text)
        if reading.latin_share(text) < 0.5:
            raise TextRefused(
                f"The voice {self.name} reads English only. GET /v1/voices lists the others; the"
                " server's voice_url can name a service that speaks this language."
            )

    async def speak(self, text: str, *, style: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """A sentence at a time; ``style`` changes nothing. Raises ``VoiceFailed``."""
        seconds = 0.0
        for sentence in sentences(reading.addresses_spelled(reading.plain(text))):
            for spoken in await self.synthesizer.speak(sentence, self.lower):
                yield _chunk(spoken, seconds)
                seconds += len(spoken.pcm) / RATE


def _chunk(spoken: Spoken, seconds: float) -> SpeechChunk:
    def later(timed: tuple[Timed, ...]) -> tuple[Timed, ...]:
        return tuple(Timed(t.text, t.start_s + seconds, t.end_s + seconds) for t in timed)

    return SpeechChunk(spoken.pcm, later(spoken.words), later(spoken.phones))
