"""Other throats for the same speech: warps the spectral envelope and leaves all timing alone.

Short-time spectra are split into a smooth envelope (low quefrencies of the cepstrum) and the
fine structure of the voice; the envelope is stretched along frequency, as a shorter or longer
vocal tract would, tilted, and mixed with breath. The pitch stays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.voices.clips import SAMPLE_RATE

_WINDOW, _HOP = 512, 128
_LIFTER = 40  # quefrency bins that belong to the envelope: below 400 Hz of pitch
_LIMIT = 2.8  # natural log of the largest gain, 24 dB


@dataclass(frozen=True, slots=True)
class Timbre:
    stretch: float = 1.0  # above 1 moves formants up: a smaller head
    tilt_db: float = 0.0  # per octave around 1 kHz
    breath: float = 0.0  # share of noise in the band above 2 kHz, 0 to 1

    def __post_init__(self) -> None:
        if not 0.7 <= self.stretch <= 1.4:
            raise ValueError(f"stretch must lie in 0.7 to 1.4, got {self.stretch}")
        if not 0 <= self.breath <= 1:
            raise ValueError(f"breath must lie in 0 to 1, got {self.breath}")


def retimbre(
    audio: NDArray[np.float32], timbre: Timbre, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The same speech (N,) from another throat, aligned with it to the sample."""
    spectra = _analyse(audio)  # (frames, bins)
    level = np.log(np.abs(spectra) + 1e-5)
    envelope = _smooth(level)
    frequency = np.arange(envelope.shape[1], dtype=np.float32)
    change = _warp(envelope, frequency / timbre.stretch) - envelope
    octaves = np.log2(np.maximum(frequency, 4) * SAMPLE_RATE / _WINDOW / 1000)
    change += octaves * timbre.tilt_db * np.float32(np.log(10) / 20)
    spectra *= np.exp(np.clip(change, -_LIMIT, _LIMIT))
    if timbre.breath:
        spectra = _breathe(spectra, timbre.breath, rng)
    return _synthesise(spectra, len(audio))


def _analyse(audio: NDArray[np.float32]) -> NDArray[np.complex64]:
    padded = np.pad(audio, (_WINDOW, _WINDOW + _HOP)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return np.fft.rfft(frames * _window()).astype(np.complex64)


def _synthesise(spectra: NDArray[np.complex64], samples: int) -> NDArray[np.float32]:
    frames = np.fft.irfft(spectra, _WINDOW) * _window()
    parts = frames.reshape(len(frames), _WINDOW // _HOP, _HOP)
    whole = np.zeros((len(frames) + _WINDOW // _HOP, _HOP), np.float32)
    for i in range(_WINDOW // _HOP):
        whole[i : i + len(frames)] += parts[:, i]
    gain = float((_window() ** 2).sum()) / _HOP
    return (whole.reshape(-1)[_WINDOW : _WINDOW + samples] / gain).astype(np.float32)


def _window() -> NDArray[np.float32]:
    return np.sqrt(np.hanning(_WINDOW + 1)[:-1]).astype(np.float32)


def _smooth(level: NDArray[np.float32]) -> NDArray[np.float32]:
    cepstrum = np.fft.irfft(level, _WINDOW)
    cepstrum[:, _LIFTER : _WINDOW - _LIFTER + 1] = 0
    return np.fft.rfft(cepstrum).real.astype(np.float32)


def _warp(envelope: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    at = np.minimum(at, envelope.shape[1] - 1.001)
    below = at.astype(np.int64)
    share = (at - below).astype(np.float32)
    return envelope[:, below] * (1 - share) + envelope[:, below + 1] * share


def _breathe(
    spectra: NDArray[np.complex64], share: float, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Turn part of the phases above 2 kHz into noise; magnitudes stay."""
    first = 2000 * _WINDOW // SAMPLE_RATE
    upper = spectra[:, first:]
    turn = np.exp(1j * rng.uniform(-np.pi, np.pi, upper.shape)).astype(np.complex64)
    mixed = upper * (1 - share) + np.abs(upper) * turn * share
    return np.concatenate([spectra[:, :first], mixed], axis=1)
