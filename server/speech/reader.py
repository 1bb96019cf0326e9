"""Reads text utterances aloud, one after the other, a little ahead of what is spoken.

A text waits as text until its turn to be read, so that many of them take little memory. A voice is
asked for its next piece only while less than ``AHEAD_S`` of read text waits to be spoken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from server.errors import ServerError, VoiceFailed
from server.speech.resampling import To48k
from server.speech.utterance import RATE, Mark, Utterance
from server.speech.voice import SpeechChunk, Timed, Voice

log = logging.getLogger(__name__)

AHEAD_S: Final = 8


@dataclass(frozen=True, slots=True)
class Text:
    """What is read, by whom."""

    utterance: Utterance
    text: str
    voice: Voice


class Reader:
    """One session's. ``moved`` returns when the timeline has taken something, or was cleared."""

    def __init__(self, moved: Callable[[], Awaitable[None]]) -> None:
        self._moved = moved
        self._texts: deque[Text] = deque()
        self._read: deque[Utterance] = deque()  # not wholly spoken yet
        self._came = asyncio.Event()
        self._current: Utterance | None = None
        self._reading: asyncio.Task[None] | None = None

    def add(self, text: Text) -> None:
        """A text to read after those before it."""
        self._texts.append(text)
        self._came.set()

    def clear(self) -> None:
        """Stops reading; the texts so far are of no use any more."""
        self._texts.clear()
        if self._reading is not None:
            self._reading.cancel()

    def skip(self, utterance: Utterance) -> None:
        """Stops reading one that was given up."""
        if self._reading is not None and self._current is utterance:
            self._reading.cancel()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._texts:
                text = self._texts.popleft()
                self._current = text.utterance
                self._reading = asyncio.create_task(self._aloud(text))
                try:
                    await asyncio.wait({self._reading})
                finally:
                    self._reading.cancel()

    async def _aloud(self, text: Text) -> None:
        utterance = text.utterance
        self._read.append(utterance)
        try:
            await self._speak(text)
        except ServerError as failure:
            utterance.fail({"type": failure.type, "detail": failure.detail})
        except Exception:
            log.exception("the voice %s failed", text.voice.name)
            failed = VoiceFailed("The voice failed; the server's log says more.")
            utterance.fail({"type": failed.type, "detail": failed.detail})
        else:
            utterance.end()

    async def _speak(self, text: Text) -> None:
        convert = To48k(text.voice.sample_rate)
        async with aclosing(text.voice.speak(text.text, style=text.utterance.style)) as chunks:
            async for chunk in chunks:
                text.utterance.mark(marks(chunk))
                text.utterance.write(convert(chunk.pcm))
                while self._ahead >= AHEAD_S * RATE:
                    await self._moved()
        text.utterance.write(convert.flush())

    @property
    def _ahead(self) -> int:
        """Samples of read text that wait to be spoken."""
        while self._read and self._read[0].exhausted:
            self._read.popleft()
        return sum(utterance.waiting for utterance in self._read)


def marks(chunk: SpeechChunk) -> list[Mark]:
    """What a voice knows of its words and phones, as events."""
    words = [_mark("word", timed) for timed in chunk.words]
    return words + [_mark("phone", timed) for timed in chunk.phones]


def _mark(event: str, timed: Timed) -> Mark:
    start_ms, end_ms = round(timed.start_s * 1000), round(timed.end_s * 1000)
    fields = {"text": timed.text, "start_ms": start_ms, "end_ms": end_ms}
    return Mark(round(timed.start_s * RATE), event, dict(fields))
