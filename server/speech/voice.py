"""What a voice is to a session: text in, speech out, as it is made.

A voice is shared by all sessions, so ``speak`` keeps its state in its own call. It never blocks the
event loop: a voice that computes does so on threads of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.errors import NoVoice


@dataclass(frozen=True, slots=True)
class Timed:
    """A word or a phone, and when it sounds: seconds from the first sample of the utterance."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """The next piece of speech: int16 mono (N,) at the voice's rate. ``words`` and ``phones`` are
    those known by now, each told once; a voice that does not know them tells none."""

    pcm: NDArray[np.int16]
    words: tuple[Timed, ...] = ()
    phones: tuple[Timed, ...] = ()  # IPA


class Voice(Protocol):
    """Reads text aloud."""

    @property
    def name(self) -> str: ...
    @property
    def language(self) -> str:
        """BCP 47, such as ``en-US``."""

    @property
    def sample_rate(self) -> int:
        """Of ``SpeechChunk.pcm``, Hz."""

    def check(self, text: str) -> None:
        """Raises ``TextRefused`` for text that this voice cannot speak, before it is accepted."""

    def speak(self, text: str, *, style: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """The text as speech, the first chunk as soon as it is there.

        ``style`` says how, in words (``calm, friendly``); a voice without styles ignores it.
        Whoever iterates may wait between two chunks, so that no more than a chunk is ever ahead,
        and calls ``aclose`` to stop early. Raises ``TextRefused`` or ``VoiceFailed``.
        """


@dataclass(frozen=True, slots=True)
class Offered:
    """A voice as clients see it; ``natural`` is false for a synthesizer that sounds like one."""

    name: str
    language: str
    natural: bool


class Voices(Protocol):
    """Every voice of a server. ``notice`` says which one is the default and why, or what is
    missing."""

    notice: str

    def offered(self) -> list[Offered]:
        """Every voice, the default first."""

    async def open(self) -> None:
        """Makes the default ready to speak at once."""

    async def close(self) -> None:
        """Ends what a voice has running."""

    def choose(self, name: str, avatar: str) -> Voice:
        """The voice of this name; for an empty name, the one that suits the avatar.

        Raises ``UnknownVoice``, and ``NoVoice`` where a server has none.
        """


class NoVoices:
    """A server that reads no text."""

    notice = "This server reads no text."

    def offered(self) -> list[Offered]:
        """None."""
        return []

    async def open(self) -> None:
        """Nothing is made ready."""

    async def close(self) -> None:
        """Nothing runs."""

    def choose(self, name: str, avatar: str) -> Voice:
        """Raises ``NoVoice``."""
        raise NoVoice("This server has no voice. Send speech as sound, or configure a voice.")
