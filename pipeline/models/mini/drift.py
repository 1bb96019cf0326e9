"""Drift monitor: is this still the person of the reference?

Compares the colours of what is shown with those of the reference frame, as slowly moving averages,
so that a performance of hours reports two plain numbers. It only measures; nothing is corrected.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MEMORY: Final = 0.1  # weight of a new sample in the average
STRIDE: Final = 4  # every fourth pixel each way is enough for statistics


def colour_statistics(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean and spread of each channel of a frame (H, W, 3), float32 (6,) in [0, 1]."""
    pixels = frame[::STRIDE, ::STRIDE].reshape(-1, 3).astype(np.float32) / 255.0
    return np.concatenate([pixels.mean(0), pixels.std(0)])


class DriftMonitor:
    """Follows the colour statistics of a stream against a reference frame."""

    def __init__(self, reference: NDArray[np.uint8]) -> None:
        self._reference = colour_statistics(reference)
        self._average = self._reference.copy()

    def see(self, frame: NDArray[np.uint8]) -> None:
        """Take one frame into the average; one a second is plenty."""
        self._average += MEMORY * (colour_statistics(frame) - self._average)

    def metrics(self) -> dict[str, float]:
        """``colour_drift`` and ``contrast_drift``: largest change of a channel, of range 1."""
        change = np.abs(self._average - self._reference)
        return {
            "colour_drift": float(change[:3].max()),
            "contrast_drift": float(change[3:].max()),
        }
