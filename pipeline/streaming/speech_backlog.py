"""Speech that waits in a stream: bounded, counted, droppable.

Counts are 16 kHz samples since the stream began. Not thread-safe.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AudioNotFinite, StreamClosed, StreamOverrun
from pipeline.interface import SAMPLE_RATE, Speech

BACKLOG_S: Final = 30


def rows_of(pcm: Speech, row: tuple[int, ...]) -> Speech:
    """Speech as float32 (N, *row). Raises ``ValueError`` for samples of another shape."""
    samples = np.asarray(pcm, np.float32)
    if samples.shape[1:] != row or not samples.ndim:
        wanted = "(N,)" if not row else f"(N, {row[0]})"
        raise ValueError(f"speech is {wanted} here, not {samples.shape}")
    return samples


class SpeechBacklog:
    """Waiting speech, and counts of what was taken or skipped before it. With ``persons`` > 1 a
    sample is a row of so many."""

    def __init__(self, persons: int = 1) -> None:
        self._row = () if persons == 1 else (persons,)
        self._waiting: NDArray[np.float32] = np.zeros((0, *self._row), np.float32)
        self._closed = False
        self.heard = 0  # samples taken
        self.skipped = 0  # samples dropped unheard

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    @property
    def pushed(self) -> int:
        """Media time of the next sample to be pushed."""
        return self.heard + self.skipped + len(self._waiting)

    def push(self, pcm: Speech) -> None:
        """Adds float32 speech in [-1, 1], (N,), any length; of several persons (N, persons).

        Raises ``StreamOverrun`` if more than 30 s would wait (nothing is taken), ``StreamClosed``,
        ``AudioNotFinite`` for NaN or infinite samples, or ``ValueError`` for speech of another
        number of persons.
        """
        if self._closed:
            raise StreamClosed("this stream is closed: open another one")
        samples = rows_of(pcm, self._row)
        if len(self) + len(samples) > BACKLOG_S * SAMPLE_RATE:
            raise StreamOverrun(
                f"{len(samples)} samples on top of {len(self)} waiting exceed {BACKLOG_S} s: "
                "step the stream, or skip()"
            )
        if not np.isfinite(samples).all():
            raise AudioNotFinite("speech contains NaN or infinite samples: send finite ones")
        self._waiting = np.concatenate([self._waiting, samples])

    def pad(self, samples: int) -> None:
        """Adds so much silence, as ``push`` does."""
        self.push(np.zeros((samples, *self._row), np.float32))

    def take(self, samples: int) -> Speech:
        """Take the oldest ``samples`` of waiting speech, or all if there are fewer."""
        taken, self._waiting = np.split(self._waiting, [max(0, samples)])
        self.heard += len(taken)
        return taken

    def skip(self, samples: int, unit: int) -> int:
        """Drops up to ``samples`` of what waits, in whole ``unit``s; returns how many."""
        dropped = min(max(samples, 0), len(self)) // unit * unit
        self._waiting = self._waiting[dropped:]
        self.skipped += dropped
        return dropped

    def silence(self) -> None:
        """What still waits becomes silence."""
        self._waiting = np.zeros_like(self._waiting)

    def close(self) -> None:
        """Drops what waits and takes nothing more; idempotent."""
        self._closed = True
        self._waiting = self._waiting[:0]
