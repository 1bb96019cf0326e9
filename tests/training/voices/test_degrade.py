"""A degraded voice has its old length and its old place in time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.voices.degrade import CHANCES, band, degrade, lose_packets, room
from training.voices.opus import through_opus

RATE = 16_000


def _voice(seconds: float = 3.0, seed: int = 0) -> NDArray[np.float32]:
    """Something like speech: syllables of a gliding harmonic tone and of noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time), 0, 1)
    hiss = 0.2 * rng.standard_normal(len(time)) * np.clip(-np.sin(2 * np.pi * 3.1 * time), 0, 1)
    return (0.15 * (tone * syllables + hiss)).astype(np.float32)


def _lag_ms(heard: NDArray[np.float32], voice: NDArray[np.float32]) -> float:
    size = 2 * len(voice)
    spectrum = np.fft.rfft(heard - heard.mean(), size) * np.conj(np.fft.rfft(voice, size))
    peak = int(np.argmax(np.fft.irfft(spectrum)))
    return (peak - size if peak > len(voice) else peak) * 1000 / RATE


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_length_and_time_stay(seed: int) -> None:
    voice = _voice()
    heard = degrade(voice, np.random.default_rng(seed), babble=[_voice(2, seed=9)[::-1]])
    assert heard.shape == voice.shape
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1
    assert abs(_lag_ms(heard, voice)) <= 2


@pytest.mark.parametrize("bitrate", [16_000, 24_000, 64_000])
def test_opus_neither_delays_nor_silences(bitrate: int) -> None:
    voice = _voice()
    heard = through_opus(voice, bitrate)
    assert len(heard) == len(voice)
    assert abs(_lag_ms(heard, voice)) <= 0.2
    loudness = [np.convolve(np.abs(a), np.ones(320), "same") for a in (heard, voice)]
    assert np.corrcoef(*loudness)[0, 1] > 0.95
    assert not np.array_equal(heard, voice)


def test_room_and_band_keep_the_direct_path_in_place() -> None:
    voice = _voice()
    for seed in range(5):
        for hurt in (room, band):
            heard = hurt(voice, np.random.default_rng(seed))
            assert len(heard) == len(voice)
            assert abs(_lag_ms(heard, voice)) <= 1


def test_lost_packets_change_packets_and_nothing_else() -> None:
    voice = _voice(10)
    heard = lose_packets(voice, np.random.default_rng(2))
    changed = (heard != voice).reshape(-1, RATE // 50).any(axis=1)
    assert 0 < changed.mean() < 0.3


@pytest.mark.parametrize("samples", [0, 1, 2, 159, 161, 321, 5000])
def test_short_sounds_survive(samples: int) -> None:
    sound = np.full(samples, 0.1, np.float32)
    for seed in range(8):
        assert len(degrade(sound, np.random.default_rng(seed))) == samples
    assert len(through_opus(sound, 24_000)) == samples


def test_silence_gets_no_voice() -> None:
    """Noise may come, but nothing that goes louder and softer as syllables do."""
    for seed in range(12):
        heard = degrade(np.zeros(2 * RATE, np.float32), np.random.default_rng(seed))
        assert np.sqrt(np.square(heard).mean()) < 0.1


def test_the_input_is_left_alone_and_the_seed_decides() -> None:
    voice = _voice()
    kept = voice.copy()
    first, second = (degrade(voice, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(voice, kept)
    assert np.array_equal(first, second)


def test_stereo_is_refused_and_so_are_bitrates_no_call_has() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\)"):
        degrade(np.zeros((4, 2), np.float32), np.random.default_rng(0))
    with pytest.raises(ValueError, match="not at 900"):
        through_opus(np.zeros(100, np.float32), 900)


def test_chances_are_chances() -> None:
    assert all(0 < chance < 1 for chance in CHANCES.values())
