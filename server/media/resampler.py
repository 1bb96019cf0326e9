"""48 kHz to 16 kHz, a block at a time, with no seam between blocks. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FACTOR = 3
TAPS = 49


class Decimator:
    """A windowed-sinc low-pass that keeps every third sample; delays by half a millisecond."""

    def __init__(self) -> None:
        n = np.arange(TAPS) - TAPS // 2
        kernel = np.sinc(n * 0.92 / FACTOR) * np.kaiser(TAPS, 7.0)
        self._kernel = (kernel / kernel.sum()).astype(np.float32)
        self._tail = np.zeros(TAPS - 1, np.float32)

    def __call__(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        """int16 at 48 kHz, a multiple of three samples -> float32 at 16 kHz in [-1, 1]."""
        if len(pcm) % FACTOR:
            raise ValueError(f"a block must be a multiple of {FACTOR} samples, not {len(pcm)}")
        if not len(pcm):
            return np.zeros(0, np.float32)
        joined = np.concatenate([self._tail, pcm.astype(np.float32) / 32768.0])
        self._tail = joined[-(TAPS - 1) :].copy()
        windows = np.lib.stride_tricks.sliding_window_view(joined, TAPS)[::FACTOR]
        pcm_16k: NDArray[np.float32] = np.clip(windows @ self._kernel, -1.0, 1.0)
        return pcm_16k
