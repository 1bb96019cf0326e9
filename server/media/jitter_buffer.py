"""An unbroken stretch of audio from pieces that are late, early, repeated or lost.

Pure: 48 kHz mono int16, positions in 48 kHz samples. ``head`` is the position of the next sample to
release, and only grows. Samples before it are cut off. Early samples are kept, up to ``capacity``;
beyond that the newest are dropped.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

GRAIN = 3  # samples that leave together: one of the 16 kHz timeline
FADE = 240  # 5 ms: concealment falls silent without a click


class JitterBuffer:
    """Pieces in, one unbroken stretch out."""

    def __init__(self, capacity: int, head: int = 0) -> None:
        if capacity <= 0:
            raise ValueError(f"capacity must be positive, not {capacity}")
        self.head = head
        self.capacity = capacity
        self._starts: list[int] = []
        self._pieces: list[Pcm] = []
        self._last: np.int16 = np.int16(0)

    @property
    def end(self) -> int:
        """Where the last piece held ends; the head when nothing is held."""
        return self._starts[-1] + len(self._pieces[-1]) if self._pieces else self.head

    def put(self, position: int, pcm: Pcm) -> int:
        """Places a piece; returns how many samples came too late, or found no room."""
        wanted = len(pcm)
        start, pcm = self._fit(position, pcm[: max(0, self.head + self.capacity - position)])
        if len(pcm):
            at = bisect_right(self._starts, start)
            self._starts.insert(at, start)
            self._pieces.insert(at, pcm)
        return wanted - len(pcm)

    def take(self, limit: int) -> Pcm:
        """Everything contiguous from the head, up to ``limit``, in whole grains."""
        end = self.head
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if start > end or end >= limit:
                break
            end = start + len(piece)
        end = min(end, limit)
        return self.fill(end - (end - self.head) % GRAIN)

    def fill(self, limit: int) -> Pcm:
        """Everything from the head to ``limit``; holes are concealed."""
        taken: list[Pcm] = []
        while self.head < limit:
            if self._starts and self._starts[0] <= self.head:
                taken.append(self._advance(limit))
            else:
                hole = min(limit, self._starts[0] if self._starts else limit) - self.head
                taken.append(self._conceal(taken, hole))
                self.head += hole
        return self._emit(taken)

    def hole(self, limit: int) -> int:
        """How many samples from the head on are missing, up to ``limit``."""
        known = self._starts[0] if self._starts else limit
        return max(0, min(known, limit) - self.head)

    def drop(self, samples: int) -> int:
        """Forgets the next ``samples``; what is behind them moves forward. Returns how many."""
        samples = min(samples, self.end - self.head)
        kept = [(s, p) for s, p in zip(self._starts, self._pieces, strict=True)]
        self._starts, self._pieces = [], []
        for start, piece in kept:
            self.put(start - samples, piece)
        return samples

    def clear(self) -> None:
        """Forgets everything held, and what concealment would go on from; the head stays."""
        self._last = np.int16(0)
        self._starts.clear()
        self._pieces.clear()

    def _fit(self, start: int, pcm: Pcm) -> tuple[int, Pcm]:
        """Cuts what has left, and what an earlier piece already says."""
        floor = self.head
        at = bisect_right(self._starts, start)
        if at:
            floor = max(floor, self._starts[at - 1] + len(self._pieces[at - 1]))
        cut = max(0, floor - start)
        start, pcm = start + cut, pcm[cut:]
        if at < len(self._starts):
            pcm = pcm[: max(0, self._starts[at] - start)]
        return start, pcm

    def _advance(self, limit: int) -> Pcm:
        piece = self._pieces[0]
        size = min(len(piece), limit - self.head)
        if size == len(piece):
            self._starts.pop(0)
            self._pieces.pop(0)
        else:
            self._starts[0] += size
            self._pieces[0] = piece[size:]
        self.head += size
        return piece[:size]

    def _conceal(self, taken: list[Pcm], size: int) -> Pcm:
        last = taken[-1][-1] if taken else self._last
        hole = np.zeros(size, np.int16)
        fade = min(FADE, size)
        hole[:fade] = (float(last) * np.linspace(1.0, 0.0, fade)).astype(np.int16)
        return hole

    def _emit(self, taken: list[Pcm]) -> Pcm:
        if not taken:
            return np.zeros(0, np.int16)
        pcm = taken[0] if len(taken) == 1 else np.concatenate(taken)
        self._last = pcm[-1]
        return pcm
