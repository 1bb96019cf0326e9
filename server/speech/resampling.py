"""Sound of any rate to 48 kHz, a piece at a time; no sample is lost at the joins or at the end."""

from __future__ import annotations

from typing import Final

import av
import numpy as np

from server.speech.utterance import RATE, Pcm

LEAST: Final = 8_000
MOST: Final = 192_000


class To48k:
    """int16 mono at ``rate`` to int16 mono at 48 kHz. Raises ``ValueError`` for no such rate."""

    def __init__(self, rate: int) -> None:
        if not LEAST <= rate <= MOST:
            raise ValueError(f"a sample rate is {LEAST} to {MOST} Hz, not {rate}")
        self.rate = rate
        self._came = self._made = 0
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def __call__(self, pcm: Pcm) -> Pcm:
        """The next piece; what the filter still holds comes with a later one."""
        self._came += len(pcm)
        if self.rate == RATE or not len(pcm):
            return pcm
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None], "s16", "mono")
        frame.sample_rate = self.rate  # no timestamp: length is counted in samples
        return self._out(self._resampler.resample(frame))

    def flush(self) -> Pcm:
        """The rest, as long as what came."""
        if self.rate == RATE or not self._came:
            return np.zeros(0, np.int16)
        due = -(-self._came * RATE // self.rate) - self._made
        rest = self._out(self._resampler.resample(None))[:due]
        return np.concatenate([rest, np.zeros(due - len(rest), np.int16)])

    def _out(self, frames: list[av.AudioFrame]) -> Pcm:
        pieces = [frame.to_ndarray()[0].astype(np.int16, copy=False) for frame in frames]
        pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
        self._made += len(pcm)
        return pcm
