"""What was said in a conversation, as a language model is told it. Pure.

Of an answer that was interrupted, the part that was heard is kept: the person knows no more of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from server.speech.utterance import RATE, Utterance

TURNS: Final = 20  # that are remembered
CHARACTERS: Final = 16_000  # likewise, of the newest turns
READ_PER_S: Final = 15  # characters, where a voice knows no words


@dataclass(slots=True)
class Turn:
    """What a person said, and the sentences of the answer."""

    asked: str
    answer: list[Utterance] = field(default_factory=list)

    @property
    def heard(self) -> str:
        """The part of the answer that was heard, or is still to be."""
        return " ".join(part for utterance in self.answer if (part := heard_part(utterance)))


class History:
    """The newest turns of one session; ``persona`` tells the model who it is."""

    def __init__(self, persona: str) -> None:
        self._persona = persona
        self._turns: deque[Turn] = deque(maxlen=TURNS)

    def ask(self, text: str) -> Turn:
        """A person has said something; unanswered words before it belong to it."""
        if self._turns and not self._turns[-1].heard:
            text = f"{self._turns.pop().asked} {text}"
        self._turns.append(turn := Turn(text[-CHARACTERS:]))
        return turn

    def messages(self) -> list[dict[str, str]]:
        """For ``chat/completions``: the persona, and the newest turns that fit."""
        newest: list[dict[str, str]] = []
        left = CHARACTERS
        for turn in reversed(self._turns):
            left -= len(turn.asked) + len(turn.heard)
            if newest and left < 0:
                break
            answer = [{"role": "assistant", "content": turn.heard}] if turn.heard else []
            newest[:0] = [{"role": "user", "content": turn.asked}, *answer]
        return [{"role": "system", "content": self._persona}, *newest]


def heard_part(utterance: Utterance) -> str:
    """The text of an utterance up to where it was played; all of it until it has ended."""
    how = utterance.finished
    if how is None or not how.interrupted:
        return utterance.text
    if utterance.heard:
        return _up_to(utterance.text, utterance.heard)
    samples = max(utterance.received, len(utterance.text) * RATE // READ_PER_S, 1)
    return _whole_words(utterance.text, len(utterance.text) * how.position // samples)


def _up_to(text: str, words: list[str]) -> str:
    """The text to the end of the last of its ``words`` that is found in it."""
    end = 0
    for word in words:
        found = text.lower().find(word.lower(), end)
        end = found + len(word) if found >= 0 else end
    return text[:end]


def _whole_words(text: str, size: int) -> str:
    return text if size >= len(text) else text[:size].rpartition(" ")[0]
