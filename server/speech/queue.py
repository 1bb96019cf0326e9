"""Utterances that wait for the timeline, in the order in which they were accepted. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from server.errors import QueueFull
from server.speech.utterance import Pcm, Utterance

MOST: Final = 256  # utterances that may wait; a text takes a few bytes until its turn comes


class SpeechQueue:
    """First in, first out; the first one may still be coming in, those behind it wait for it."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._waiting: deque[Utterance] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self._waiting)

    @property
    def first(self) -> Utterance | None:
        """Whose turn it is."""
        return self._waiting[0] if self._waiting else None

    def add(self, utterance: Utterance) -> None:
        """Accepts one. Raises ``QueueFull``."""
        if len(self._waiting) >= self.most:
            raise QueueFull(
                f"{self.most} utterances wait already. Send more when one of them has finished."
            )
        self._waiting.append(utterance)

    def put_first(self, utterance: Utterance) -> None:
        """One that was taken is next again."""
        if self.first is not utterance:
            self._waiting.appendleft(utterance)

    def take(
        self,
        size: int,
        placed: Callable[[Utterance, int, int], None],
        ended: Callable[[Utterance, int], None],
    ) -> Pcm:
        """Up to ``size`` samples of what is next, of one utterance after the other.

        Says of each where in the result its samples begin and how many they are, and where it
        ended when that was the last of it.
        """
        pieces: list[Pcm] = []
        taken = 0
        while (first := self.first) is not None:
            pcm = first.take(size - taken)
            if len(pcm):
                placed(first, taken, len(pcm))
                pieces.append(pcm)
                taken += len(pcm)
            if not first.exhausted:
                break
            self._waiting.popleft()
            ended(first, taken)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def clear(self) -> list[Utterance]:
        """Everything that waits, in order; the queue is empty."""
        dropped = list(self._waiting)
        self._waiting.clear()
        return dropped
