"""Mixes any number of channels to one without cancelling speech.

A plain mean loses a voice whose channels have opposite sign (a reversed plug, a "karaoke" widener),
and weakens a voice that fills one of many channels. Here a channel that would cancel the others is
inverted first, and the mix is as loud as the loudest channel. The decision is measured every 20 ms
and changes smoothly, so the mix has no clicks. Pure: knows no file, codec or model.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOP_S: Final = 0.02  # between two measurements
MEMORY_S: Final = 0.06  # over which they are averaged
CANCELS: Final = -0.5  # correlation with the loudest channel from which a channel is turned over

Samples = NDArray[np.float32]


class Downmix:
    """Mixes one source, piece by piece; remembers how its channels stood."""

    def __init__(self, rate: int) -> None:
        if rate <= 0:
            raise ValueError(f"sample rate must be positive, not {rate}")
        self._rate, self._hop = rate, max(1, round(rate * HOP_S))
        self._measured: NDArray[np.float64] | None = None  # (C, C) covariance, not yet for silence
        self._signs = np.ones(0)
        self._weights: NDArray[np.float64] | None = None

    def __call__(self, samples: Samples) -> Samples:
        """float32 (N, channels) that follow what came before -> (N,) in [-1, 1]."""
        channels = samples.shape[1]
        if channels == 1 or not len(samples):
            return samples[:, 0] if channels else np.zeros(len(samples), np.float32)
        if channels != len(self._signs):
            self._measured, self._weights, self._signs = None, None, np.ones(channels)
        hops = [samples[at : at + self._hop] for at in range(0, len(samples), self._hop)]
        return np.concatenate([self._mix(hop) for hop in hops]).clip(-1.0, 1.0)

    def _mix(self, hop: Samples) -> Samples:
        self._measure(hop)
        wanted = self._wanted()
        before, self._weights = wanted if self._weights is None else self._weights, wanted
        if np.array_equal(before, wanted):
            return (hop @ wanted).astype(np.float32)
        way = np.linspace(1 / len(hop), 1.0, len(hop))[:, None]
        mixed: Samples = (hop * (before + way * (wanted - before))).sum(axis=1, dtype=np.float32)
        return mixed

    def _measure(self, hop: Samples) -> None:
        wide = hop.astype(np.float64)
        here = wide.T @ wide / len(hop)
        if not np.isfinite(here).all() or not here.any():  # nothing to learn from
            return
        kept = 0.0 if self._measured is None else exp(-len(hop) / (MEMORY_S * self._rate))
        before = here if self._measured is None else self._measured
        self._measured = here + kept * (before - here)
        self._turn(self._measured)

    def _turn(self, measured: NDArray[np.float64]) -> None:
        """Turns over what cancels the loudest channel as things stand; else all stays."""
        energy = measured.diagonal()
        loudest = int(energy.argmax())
        scale = np.sqrt(energy * energy[loudest]) + np.finfo(float).tiny
        agreement = measured[loudest] / scale * self._signs * self._signs[loudest]
        self._signs = np.where(agreement < CANCELS, -self._signs, self._signs)

    def _wanted(self) -> NDArray[np.float64]:
        """Weights of the channels; the mix of them has the energy of the loudest one."""
        count = len(self._signs)
        if self._measured is None:
            return self._signs / count
        mixed = float(self._signs @ self._measured @ self._signs)
        loudest = float(self._measured.diagonal().max())
        gain = min(1.0, np.sqrt(loudest / mixed)) if mixed > 0 else 1.0
        return self._signs * max(gain, 1 / count)
