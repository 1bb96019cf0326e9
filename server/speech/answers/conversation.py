"""One session that answers: what is said to it is recognised, thought about and answered aloud.

While a person speaks, the avatar pauses. When their words are known it drops what it was saying and
answers them; a cough has no words, and then it goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from server.auth.rate_limit import Bucket
from server.background.tasks import Tasks
from server.errors import NoAnswers, RateLimited, ServerError, TextRefused
from server.media.clock import RATE
from server.media.vad import SpeechBoundary
from server.rtc import data_channel
from server.speech.answers.chat import Chat
from server.speech.answers.history import History, Turn
from server.speech.answers.recognition import Recognizer
from server.speech.speech import Speech
from server.speech.utterance import Utterance

BEFORE: Final = RATE // 2  # samples before speech is detected that belong to it
LEAST, LONGEST = RATE // 5, 60 * RATE  # of what a person says at a time
WAITING: Final = 4  # questions that wait to be recognised; then the oldest goes
ASKS: Final = (0.5, 10)  # a second, and at once: somebody pays for each
MOST: Final = 2000  # characters of a question
NO_CHAT: Final = "This server has no answers: set chat_url and chat_model, and chat_key if needed."
NO_EARS: Final = "Type what you want to say: to be understood by voice, set transcribe_url."
MANNER: Final = (
    "You are {name}. You speak with a person face to face, in a live call. {persona} Answer in one"
    " to three short sentences of spoken language, in the person's language, without lists, markup"
    " or emoji. {style}"
)
Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answers:
    """The services that a server answers with; None is one that it does not have."""

    chat: Chat | None = None
    recognizer: Recognizer | None = None
    persona: str = ""

    @property
    def notice(self) -> str:
        """What is missing, and which setting adds it; empty where all is there."""
        return NO_CHAT if self.chat is None else "" if self.recognizer else NO_EARS

    def conversation(self, session: Talking, name: str, style: str) -> Conversation:
        """For a session of the avatar that is called ``name``. Raises ``NoAnswers``."""
        if self.chat is None:
            raise NoAnswers(NO_CHAT)
        style = f"Your manner: {style}." if style else ""
        persona = MANNER.format(name=name, persona=self.persona, style=style)
        history = History(" ".join(persona.split()))
        return Conversation(session, self.chat, self.recognizer, history)


class Talking(Protocol):
    """``server.sessions.session.Session``, as far as it is known here."""

    speech: Speech

    def say(self, text: data_channel.Say) -> Utterance: ...
    def tell(self, message: str) -> None: ...
    def interrupt(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Conversation:
    """One session's. ``hear`` and ``ask`` are called in the loop and return at once."""

    def __init__(
        self, session: Talking, chat: Chat, recognizer: Recognizer | None, history: History
    ) -> None:
        self._session, self._chat, self._recognizer = session, chat, recognizer
        self._history = history
        self._before: deque[Sound] = deque(maxlen=25)  # blocks of 20 ms, or of a frame
        self._saying: list[Sound] | None = None
        self._since = 0  # the media time at which that began
        self._asked: asyncio.Queue[Sound | str] = asyncio.Queue()
        self._answering: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._bucket = Bucket(*ASKS, time.monotonic())

    def hear(self, pcm: Sound, edges: Iterable[SpeechBoundary]) -> None:
        """The next float32 16 kHz sound of the person, and where in it speech begins or ends."""
        if self._recognizer is None:
            return
        self._before.append(pcm)
        if self._saying is not None:
            self._saying.append(pcm)
        for edge in edges:
            self._begun(edge.media_time) if edge.speaking else self._ended(edge.media_time)
        if self._saying is not None and sum(map(len, self._saying)) > LONGEST:
            self._ended(self._since + LONGEST)

    def ask(self, text: str) -> None:
        """As if it had been said. Raises ``RateLimited``."""
        self._put(text[:MOST])

    async def run(self) -> None:
        """Until cancelled: takes what was asked, in order."""
        try:
            while True:
                asked = await self._asked.get()
                try:
                    text = asked if isinstance(asked, str) else await self._recognised(asked)
                except ServerError as failure:
                    text = ""
                    self._say_why(failure)
                if text:
                    await self._stop()
                    answer = partial(self._answer, self._history.ask(text))
                    self._answering = self._tasks.start("answer", answer)
                if text and self._saying is not None:
                    self._session.pause()
                elif not text and self._saying is None:
                    self._session.resume()
        finally:
            await self._stop()

    def _begun(self, media_time: int) -> None:
        self._saying, self._since = list(self._before), media_time
        if self._session.speech.unfinished or (self._answering and not self._answering.done()):
            self._session.pause()

    def _ended(self, media_time: int) -> None:
        said, self._saying = self._saying, None
        try:
            if said and media_time - self._since >= LEAST:
                self._put(np.concatenate(said))
            else:
                self._session.resume()
        except RateLimited as refusal:
            self._say_why(refusal)
            self._session.resume()

    def _put(self, question: Sound | str) -> None:
        seconds = self._bucket.take(time.monotonic())
        if seconds:
            raise RateLimited("Too many questions at a time.", retry_after_s=int(seconds) + 1)
        if self._asked.qsize() >= WAITING:
            self._asked.get_nowait()
        self._asked.put_nowait(question)

    async def _recognised(self, pcm: Sound) -> str:
        assert self._recognizer is not None
        text = (await self._recognizer.text(pcm))[:MOST]
        if text:
            self._session.tell(data_channel.build("transcript", text=text))
        return text

    async def _stop(self) -> None:
        """Nothing more is said of the last answer."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
            self._answering = None
        if self._session.speech.unfinished or self._session.speech.paused:
            self._session.interrupt()

    async def _answer(self, turn: Turn) -> None:
        try:
            async for sentence in self._chat.sentences(self._history.messages()):
                try:
                    turn.answer.append(self._session.say(data_channel.Say(sentence)))
                except TextRefused:
                    continue  # an emoji, or a line of dashes
        except ServerError as failure:
            self._say_why(failure)

    def _say_why(self, failure: ServerError) -> None:
        code = failure.type.rpartition("/")[2].replace("-", "_")
        self._session.tell(data_channel.error(code, failure.detail, failure.retryable))
