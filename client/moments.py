"""Pictures and sound of one viewer become moments: a picture, and the samples while it is shown.

Pure: pieces come with when they left (Unix seconds of the server). A moment is ready when its
sound and its picture have come, or when the other kind is ``LATE_S`` ahead of it: then the last
picture is repeated, or missing sound is silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

RATE: Final = 48_000
LATE_S: Final = 0.12
BEHIND_S: Final = 2.0  # what lies further apart is another timeline: begin anew
FADE: Final = 240  # samples
Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Moment:
    """A picture and its samples, 48 kHz mono. ``sent_at`` is when the first of them left."""

    sent_at: float
    picture: av.VideoFrame
    pcm: Pcm

    @property
    def ends_at(self) -> float:
        """When the next one begins."""
        return self.sent_at + len(self.pcm) / RATE


class Moments:
    """Puts pieces together, ``fps`` times a second."""

    def __init__(self, fps: float = 25.0) -> None:
        self._size = round(RATE / fps)
        self._start: float | None = None  # of the moment that is next
        self._sound = np.zeros(0, np.int16)  # from there on
        self._pictures: deque[tuple[float, av.VideoFrame]] = deque()
        self._shown: av.VideoFrame | None = None
        self._hush_from = self._hush_until = -inf

    def picture(self, sent_at: float, picture: av.VideoFrame) -> None:
        """A picture that left then."""
        if self._start is not None and abs(sent_at - self._start) > BEHIND_S:
            self._start = None
            self._pictures.clear()
        if self._start is None:
            self._start, self._sound = sent_at, np.zeros(0, np.int16)
        self._pictures.append((sent_at, picture))

    def sound(self, sent_at: float, pcm: Pcm) -> None:
        """Samples, the first of which left then; what is missing before them is silence."""
        if self._start is None:
            return
        at = round((sent_at - self._start) * RATE)
        if abs(at) > BEHIND_S * RATE:
            self._start = None
            return
        if at < 0:
            pcm, at = pcm[-at:], 0
        gap = max(0, at - len(self._sound))
        self._sound = np.concatenate([self._sound[:at], np.zeros(gap, np.int16), pcm])

    def hush(self) -> float:
        """Silence from the next moment on, until ``speak_from``; returns when that moment left."""
        cut = self._start if self._start is not None else -inf
        if self._hush_until != inf:
            self._hush_from = cut
        self._hush_until = inf
        return cut

    def speak_from(self, sent_at: float) -> None:
        """Sound that left at ``sent_at`` or later is given again."""
        self._hush_until = sent_at

    def ready(self) -> Iterator[Moment]:
        """All moments that are whole."""
        while self._start is not None and self._whole(self._start):
            moment = self._take(self._start)
            self._start = moment.ends_at
            self._sound = self._sound[self._size :]
            yield moment

    def _whole(self, start: float) -> bool:
        last = self._pictures[-1][0] if self._pictures else -inf
        seen, late = last > start - self._half, last > start + LATE_S
        missing = self._size - len(self._sound)
        there = missing <= 0
        beyond = -missing > LATE_S * RATE
        drawn = bool(self._pictures) or self._shown is not None
        return drawn and ((there and (seen or beyond)) or late)

    @property
    def _half(self) -> float:
        return self._size / RATE / 2

    def _take(self, start: float) -> Moment:
        while self._pictures and (
            self._shown is None or self._pictures[0][0] <= start + self._half
        ):
            self._shown = self._pictures.popleft()[1]
        assert self._shown is not None
        pcm = np.zeros(self._size, np.int16)
        pcm[: len(self._sound)] = self._sound[: self._size]
        return Moment(start, self._shown, self._hushed(start, pcm))

    def _hushed(self, start: float, pcm: Pcm) -> Pcm:
        first = max(0, self._sample(self._hush_from, start))
        last = min(len(pcm), self._sample(self._hush_until, start))
        if first < last:
            heard = np.ones(len(pcm))
            heard[first:last] = 0.0
            if self._hush_from == start:
                fade = min(FADE, last)
                heard[:fade] = np.linspace(1.0, 0.0, fade)
            pcm = (pcm * heard).astype(np.int16)
        return pcm

    def _sample(self, at: float, start: float) -> int:
        return round(min(max((at - start) * RATE, -1), self._size + 1))
