"""What one session is told to say: its queue, its voices, and how far the peers have heard it.

Utterances are spoken in the order in which they were accepted, and each that was accepted ends in
exactly one ``utterance_finished``. Nothing that was accepted is dropped but by ``clear``. A sender
may have ``CAPACITY_S`` of sound waiting, and learns how much more it may send (``Source``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from server.errors import BadRequest, QueueFull, UnknownSession
from server.speech.playback import Playback, Teller, finish
from server.speech.queue import SpeechQueue
from server.speech.reader import Reader, Text
from server.speech.utterance import RATE, Mark, Pcm, Utterance
from server.speech.voice import Voice

CAPACITY_S: Final = 30
SOURCES: Final = 8  # senders at a time
STALLED_S: Final = 15.0  # an utterance of which nothing more comes ends after that


class Source:
    """One sender of sound, and how much of it may wait. Counts are 48 kHz samples."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._unspoken: list[Utterance] = []
        self.sent = 0
        self.closed = False

    @property
    def room(self) -> int:
        """How much more it may send now; what is sent beyond that waits at the sender."""
        self._unspoken = [u for u in self._unspoken if not u.exhausted and u.finished is None]
        return CAPACITY_S * RATE - sum(utterance.waiting for utterance in self._unspoken)

    @property
    def gone(self) -> bool:
        """Whether it has gone, and all that it sent is on the timeline."""
        return self.closed and self.room == CAPACITY_S * RATE

    @property
    def credit(self) -> int:
        """How much it may have sent in all."""
        return self.sent + max(0, self.room)

    def begin(self, name: str, style: str = "", cues: Iterable[Mark] = ()) -> Utterance:
        """Accepts an utterance whose sound follows. Raises ``QueueFull`` or ``BadRequest``."""
        utterance = self._speech.accept(Utterance(name, style, cues))
        self._unspoken.append(utterance)
        return utterance

    async def write(self, utterance: Utterance, pcm: Pcm) -> bool:
        """Adds sound as soon as there is room for it; False when the utterance has ended.

        The utterance whose turn it is always gets some: it may share the room with later ones.
        """
        while utterance.open and self.room <= 0 and not self._speech.lacks(utterance):
            await self._speech.moved()
        self.sent += len(pcm)
        return utterance.write(pcm)

    def close(self) -> None:
        """The sender has gone: what it has begun ends with what has come."""
        self.closed = True
        for utterance in self._unspoken:
            utterance.end()


class Speech:
    """One session's. ``tell`` sends an event, ``set_style`` changes how the avatar speaks."""

    def __init__(self, tell: Teller, set_style: Callable[[str], None]) -> None:
        self._tell, self._set_style = tell, set_style
        self._queue = SpeechQueue()
        self._playback = Playback(tell)
        self._sources: list[Source] = []
        self.posted = Source(self)  # shared by all who send an utterance at a time
        self._moved = asyncio.Event()
        self.style = ""  # of the utterance that goes on the timeline
        self._stalled: tuple[object, float] = (None, 0.0)  # what was there then, and since when
        self.paused = False
        self._closed = False
        self.reader = Reader(self.moved)

    # -- senders -----------------------------------------------------------------------------

    def open(self) -> Source:
        """A new sender; one that has gone counts until its speech is on the timeline. Raises
        ``QueueFull``."""
        self._sources = [source for source in self._sources if not source.gone]
        if len(self._sources) >= SOURCES:
            raise QueueFull(f"{SOURCES} senders feed this session already. Close one of them.")
        source = Source(self)
        self._sources.append(source)
        return source

    def lacks(self, utterance: Utterance) -> bool:
        """Whether it is this one's turn, and little of it is here."""
        return utterance is self._queue.first and utterance.waiting < RATE

    def say(
        self, text: str, voice: Voice, name: str = "", style: str = "", cues: Iterable[Mark] = ()
    ) -> Utterance:
        """Accepts a text. Raises ``TextRefused``, ``QueueFull`` or ``BadRequest``."""
        voice.check(text)
        utterance = self.accept(Utterance(name, style, cues, text))
        self.reader.add(Text(utterance, text, voice))
        return utterance

    def accept(self, utterance: Utterance) -> Utterance:
        """Puts an utterance behind the others, under its own name or a new one. Raises
        ``UnknownSession`` where the session is over."""
        if self._closed:
            raise UnknownSession("There is no such session, or it has ended.")
        utterance.id = utterance.id or f"u-{secrets.token_hex(4)}"
        if utterance.id in {other.id for other in self.unfinished}:
            raise BadRequest(f"An utterance with the id {utterance.id!r} waits already.")
        self._queue.add(utterance)
        return utterance

    @property
    def waiting(self) -> list[Utterance]:
        """Utterances that are not wholly on the timeline, in order."""
        return list(self._queue)

    @property
    def left(self) -> int:
        """How many more utterances it takes."""
        return self._queue.most - len(self._queue)

    async def moved(self) -> None:
        """Waits until the timeline has taken something, or everything was cleared."""
        await self._moved.wait()

    # -- the timeline ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether utterances wait or come in; nobody else speaks then."""
        return bool(self._queue)

    def take(self, position: int, size: int) -> Pcm:
        """Up to ``size`` samples to be placed at ``position`` (both 48 kHz)."""
        if self.paused:
            return np.zeros(0, np.int16)
        pcm = self._queue.take(
            size,
            lambda utterance, at, count: self._place(utterance, position + at, count),
            lambda utterance, at: self._playback.end(utterance, position + at),
        )
        if len(pcm) or not self._queue:
            self._wake()
        if not self._queue:
            self._speak_as("")
        return pcm

    def _place(self, utterance: Utterance, position: int, count: int) -> None:
        self._speak_as(utterance.style)
        self._playback.add(utterance, position, count)

    def _speak_as(self, style: str) -> None:
        if style != self.style:
            self.style = style
            self._set_style(style)

    def played(self, position: int) -> None:
        """Sound up to ``position`` (48 kHz) has left."""
        self._playback.played(position)

    # -- orders ------------------------------------------------------------------------------

    def clear(self, position: int) -> None:
        """Ends every utterance; nothing from ``position`` (48 kHz) on is played."""
        self.paused = False
        self.reader.clear()
        self._playback.clear(position)
        for utterance in self._queue.clear():
            if utterance.finished is None:
                finish(self._tell, utterance, position, 0, interrupted=True)
        self._speak_as("")
        self._wake()

    def close(self, position: int) -> None:
        """As ``clear``; from now on nothing is accepted."""
        self._closed = True
        self.clear(position)

    def pause(self, position: int, read: Callable[[int, int], Pcm]) -> None:
        """Keeps everything for ``resume``; what is not played by ``position`` is taken back.

        ``read`` gives so many samples of the timeline from a position on.
        """
        for utterance, unheard in reversed(self._playback.take_back(position)):
            for start, end in reversed(unheard):
                utterance.put_back(read(start, end - start))
            self._queue.put_first(utterance)
        self.paused = True

    def resume(self) -> None:
        """Goes on where ``pause`` has stopped."""
        self.paused = False

    def watch(self, now_s: float) -> None:
        """Ends an utterance that the others wait for, when nothing more of it comes."""
        first = None if self.paused else self._queue.first
        state = first and (first, first.received, first.waiting)
        if first is None or first.complete or state != self._stalled[0]:
            self._stalled = (state, now_s)
        elif now_s - self._stalled[1] > STALLED_S:
            said = f"Nothing of this utterance came for {STALLED_S:.0f} s; end each one."
            first.fail({"type": "/problems/speech-stalled", "detail": said})
            self.reader.skip(first)

    @property
    def unfinished(self) -> list[Utterance]:
        """All that were accepted and have not ended, in order."""
        placed = [each.utterance for each in self._playback]
        return placed + [utterance for utterance in self._queue if utterance not in placed]

    def _wake(self) -> None:
        """Whoever waited for room looks again."""
        self._moved.set()
        self._moved = asyncio.Event()
