"""One utterance: what is to be said, as it comes in, and what became of it.

Sound waits here at 48 kHz mono until the session's timeline takes it. Marks are words, phones and
cues: what is told to listeners when the place in the utterance is heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

RATE = 48_000
GRAIN = 3  # samples that leave together: one of the 16 kHz timeline


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at a place of the utterance, in samples; ``event`` is its kind, as it is told."""

    at: int
    event: str
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """How an utterance ended. ``position`` is how many of its samples were played to the peers."""

    media_time: int
    position: int
    interrupted: bool
    error: dict[str, object] | None = None

    @property
    def position_ms(self) -> int:
        """``position`` in milliseconds."""
        return round(self.position * 1000 / RATE)


class Utterance:
    """Filled at one end, taken at the other; both in the event loop."""

    def __init__(
        self, name: str, style: str = "", marks: Iterable[Mark] = (), text: str = ""
    ) -> None:
        self.id, self.style = name, style
        self.text = text  # empty where it came as sound
        self.marks: list[Mark] = sorted(marks, key=lambda mark: mark.at)  # not told yet
        self.heard: list[str] = []  # words of it that were told
        self.received = 0  # samples so far
        self.waiting = 0  # of which the timeline has not taken so many
        self.complete = False  # nothing more comes
        self.error: dict[str, object] | None = None  # why it ends before it was whole
        self.finished: Finished | None = None
        self.done = asyncio.Event()
        self._pieces: deque[Pcm] = deque()

    @property
    def exhausted(self) -> bool:
        """Whether all of it has been taken."""
        return self.complete and not self.waiting

    @property
    def open(self) -> bool:
        """Whether more may be written; what comes after a ``clear`` is not wanted any more."""
        return not self.complete and self.finished is None

    def write(self, pcm: Pcm) -> bool:
        """Adds 48 kHz sound; False when the utterance has ended, and nothing was added."""
        if not self.open:
            return False
        if len(pcm):
            self._pieces.append(pcm)
            self.received += len(pcm)
            self.waiting += len(pcm)
        return True

    def mark(self, marks: Iterable[Mark]) -> None:
        """Adds words or phones as they become known."""
        self.marks = sorted([*self.marks, *marks], key=lambda mark: mark.at)

    def end(self) -> None:
        """Nothing more comes; filled up to whole samples of the timeline."""
        if self.open:
            self.write(np.zeros(-self.received % GRAIN, np.int16))
            self.complete = True

    def fail(self, error: dict[str, object]) -> None:
        """Ends with what has come so far; listeners are told why."""
        if self.open:
            self.error = error
            self.end()

    def take(self, size: int) -> Pcm:
        """Up to ``size`` samples, in whole grains."""
        size = min(size, self.waiting) // GRAIN * GRAIN
        taken: list[Pcm] = []
        while size > 0:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            taken.append(piece)
            size -= len(piece)
            self.waiting -= len(piece)
        return np.concatenate(taken) if taken else np.zeros(0, np.int16)

    def put_back(self, pcm: Pcm) -> None:
        """Returns samples that were taken last and not played."""
        if len(pcm):
            self._pieces.appendleft(pcm)
            self.waiting += len(pcm)

    def finish(self, how: Finished) -> None:
        """It is over, once and for all; what was still waiting is gone."""
        if self.finished is not None:
            raise ValueError(f"utterance {self.id} has finished already")
        self.finished, self.complete = how, True
        self._pieces.clear()
        self.waiting = 0
        self.done.set()
