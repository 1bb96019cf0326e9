"""Which part of which utterance is on the session's timeline, and how much of it was played.

Pure: positions count 48 kHz samples of the timeline and are passed in. Silence that fills a gap
inside an utterance belongs to none, so that a position counts what was truly heard of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from server.speech.utterance import GRAIN, Finished, Mark, Utterance


class Teller(Protocol):
    """Tells listeners; ``fields`` are those of the event."""

    def __call__(self, kind: str, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples [``offset``, ``offset`` + ``size``) of an utterance, which play at ``start``."""

    start: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where it ends on the timeline."""
        return self.start + self.size

    def heard(self, position: int) -> int:
        """How many of its samples lie before ``position``."""
        return min(max(position - self.start, 0), self.size)


@dataclass(slots=True)
class Placed:
    """One utterance on the timeline."""

    utterance: Utterance
    begins: int
    stretches: list[Stretch] = field(default_factory=list)
    started: bool = False
    whole: bool = False  # all of it is on the timeline

    @property
    def size(self) -> int:
        """Samples on the timeline."""
        return sum(stretch.size for stretch in self.stretches)

    @property
    def end(self) -> int:
        """Where the last of them ends."""
        return self.stretches[-1].end if self.stretches else self.begins

    def heard(self, position: int) -> int:
        """How many of them lie before ``position``."""
        return sum(stretch.heard(position) for stretch in self.stretches)

    def place(self, offset: int) -> int:
        """Where on the timeline a sample of the utterance plays."""
        for stretch in self.stretches:
            if offset < stretch.offset + stretch.size:
                return stretch.start + max(0, offset - stretch.offset)
        return self.end


class Playback:
    """Utterances between the queue and the ears of the peers, in order."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self._placed: deque[Placed] = deque()

    def __iter__(self) -> Iterator[Placed]:
        return iter(self._placed)

    def add(self, utterance: Utterance, start: int, size: int) -> None:
        """The next ``size`` samples of an utterance play at ``start``."""
        placed = self._of(utterance, start)
        if size:
            placed.stretches.append(Stretch(start, placed.size, size))

    def end(self, utterance: Utterance, position: int) -> None:
        """All of the utterance is on the timeline; ``position`` is where an empty one lies."""
        self._of(utterance, position).whole = True

    def played(self, position: int) -> None:
        """Sound up to ``position`` has left: tells what began, what was reached, what ended."""
        while self._placed:
            placed = self._placed[0]
            if placed.begins > position:
                return
            self._start(placed)
            self._reach(placed, position)
            if not placed.whole or placed.end > position:
                return
            self._placed.popleft()
            self._finish(placed, placed.end, interrupted=placed.utterance.error is not None)

    def clear(self, position: int) -> None:
        """Nothing from ``position`` on will be played: each utterance here ends."""
        self.played(position)
        while self._placed:
            self._finish(self._placed.popleft(), position, interrupted=True)

    def take_back(self, position: int) -> list[tuple[Utterance, list[tuple[int, int]]]]:
        """What is not played by ``position`` leaves the timeline, to be placed again later.

        Returns the utterances that are not finished, each with where its unheard samples were:
        starts and ends.
        """
        self.played(position)
        back = []
        for placed in self._placed:
            unheard = [
                (max(s.start, position), s.end) for s in placed.stretches if s.end > position
            ]
            back.append((placed.utterance, unheard))
            placed.stretches = [
                replace(s, size=s.heard(position)) for s in placed.stretches if s.start < position
            ]
            placed.whole = False
        self._placed = deque(placed for placed in self._placed if placed.started)
        return back

    def _of(self, utterance: Utterance, start: int) -> Placed:
        if not self._placed or self._placed[-1].utterance is not utterance:
            self._placed.append(Placed(utterance, start))
        return self._placed[-1]

    def _start(self, placed: Placed) -> None:
        if not placed.started:
            placed.started = True
            media_time, utterance = placed.begins // GRAIN, placed.utterance
            text = {"text": utterance.text} if utterance.text else {}
            self._tell("utterance_started", id=utterance.id, media_time=media_time, **text)

    def _reach(self, placed: Placed, position: int) -> None:
        """Tells the marks that have been heard; of a finished utterance those at its very end."""
        heard, marks = placed.heard(position), placed.utterance.marks
        over = placed.whole and placed.end <= position
        while marks and (over or marks[0].at < heard):
            self._tell_mark(placed, marks.pop(0))

    def _tell_mark(self, placed: Placed, mark: Mark) -> None:
        media_time = placed.place(mark.at) // GRAIN
        if mark.event == "word":
            placed.utterance.heard.append(str(mark.fields["text"]))
        self._tell(mark.event, id=placed.utterance.id, media_time=media_time, **mark.fields)

    def _finish(self, placed: Placed, position: int, interrupted: bool) -> None:
        finish(self._tell, placed.utterance, position, placed.heard(position), interrupted)


def finish(
    tell: Teller, utterance: Utterance, position: int, heard: int, interrupted: bool
) -> None:
    """Ends an utterance and tells so, once."""
    how = Finished(position // GRAIN, heard, interrupted, utterance.error)
    utterance.finish(how)
    more = {} if how.error is None else {"error": how.error}
    tell(
        "utterance_finished",
        id=utterance.id,
        media_time=how.media_time,
        position_ms=how.position_ms,
        interrupted=interrupted,
        **more,
    )
