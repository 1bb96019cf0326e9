"""Sound in which nobody speaks: room tone, breaths, hum, tones, clicks. The avatar rests here."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from training.voices.clips import SAMPLE_RATE, Clip, Phone

Sound: TypeAlias = NDArray[np.float32]


def quiet_clip(delivery: str, seconds: float, rng: np.random.Generator) -> Clip:
    """A clip of "silence" or of "noise"; its one phone is silence."""
    samples = round(seconds * SAMPLE_RATE)
    if delivery == "silence":
        audio, level = _silence(samples, rng), 10 ** rng.uniform(-4.0, -1.9)
        level = 0.0 if rng.random() < 0.2 else level
    elif delivery == "noise":
        makers = [_hum, _tones, _clicks, _swells]
        chosen = rng.choice(len(makers), size=int(rng.integers(1, 3)), replace=False)
        audio = np.sum([makers[i](samples, rng) for i in chosen], axis=0)
        level = 10 ** rng.uniform(-1.6, -0.1)
    else:
        raise ValueError(f"quiet delivery must be silence or noise, got {delivery!r}")
    peak = float(np.abs(audio).max()) or 1.0
    sound = (audio * (level / peak)).astype(np.float32)
    phones = (Phone(0, samples, ""),)
    return Clip(sound, phones, f"quiet/{delivery}", "", delivery, "")


def coloured(samples: int, exponent: float, rng: np.random.Generator) -> Sound:
    """Noise of unit deviation whose power falls as 1 / f ** exponent: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 30)
    noise = np.fft.irfft(spectrum * frequency ** (-exponent / 2), samples)
    return np.asarray(noise / (noise.std() + 1e-12), np.float32)


def hum(samples: int, rng: np.random.Generator) -> Sound:
    """Mains hum of unit deviation at 50 or 60 Hz with its harmonics."""
    time = np.arange(samples) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    total = np.zeros(samples)
    for k in range(1, 9):
        total += rng.random() / k * np.sin(2 * np.pi * (k * base * time + rng.random()))
    return np.asarray(total / (total.std() + 1e-12), np.float32)


def _silence(samples: int, rng: np.random.Generator) -> Sound:
    tone = 0.3 * coloured(samples, rng.uniform(0.5, 2.0), rng)
    for _ in range(int(rng.integers(0, 1 + samples // (4 * SAMPLE_RATE)))):
        _add(tone, 2 * _breath(rng), int(rng.integers(samples)))
    return tone


def _breath(rng: np.random.Generator) -> Sound:
    length = int(rng.uniform(0.3, 0.9) * SAMPLE_RATE)
    low = rng.uniform(300, 900)
    band = butter(2, [low, rng.uniform(3, 6) * low], "bandpass", fs=SAMPLE_RATE, output="sos")
    noise = sosfilt(band, rng.standard_normal(length))
    shape = np.sin(np.pi * np.linspace(0, 1, length) ** rng.uniform(0.6, 1.8)) ** 2
    return np.asarray(noise * shape / noise.std(), np.float32)


def _hum(samples: int, rng: np.random.Generator) -> Sound:
    return hum(samples, rng) + 0.2 * coloured(samples, 1.0, rng)


def _tones(samples: int, rng: np.random.Generator) -> Sound:
    """Struck chords at a steady beat: something like music."""
    music = np.zeros(samples, np.float32)
    beat = int(rng.uniform(0.2, 0.7) * SAMPLE_RATE)
    scale = 110 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24]) / 12)
    root, decay = rng.uniform(0.7, 2.0), rng.uniform(2, 9)
    for at in range(0, samples, beat):
        time = np.arange(min(4 * beat, samples - at)) / SAMPLE_RATE
        for note in rng.choice(scale, size=int(rng.integers(1, 4))):
            pitch = note * root
            wave = sum(np.sin(2 * np.pi * k * pitch * time) / k**1.5 for k in range(1, 5))
            music[at : at + len(time)] += (wave * np.exp(-decay * time)).astype(np.float32)
    return np.asarray(music / (music.std() + 1e-6), np.float32)


def _clicks(samples: int, rng: np.random.Generator) -> Sound:
    """Keys, taps and knocks."""
    sound = 0.05 * coloured(samples, 1.0, rng)
    for _ in range(int(samples / SAMPLE_RATE * rng.uniform(0.5, 8))):
        time = np.arange(int(0.06 * SAMPLE_RATE)) / SAMPLE_RATE
        ring = np.sin(2 * np.pi * rng.uniform(200, 5000) * time) + rng.standard_normal(len(time))
        knock = ring * np.exp(-time * rng.uniform(80, 600)) * rng.uniform(0.2, 1)
        _add(sound, knock.astype(np.float32), int(rng.integers(samples)))
    return sound


def _swells(samples: int, rng: np.random.Generator) -> Sound:
    """Wind and traffic: noise that comes and goes."""
    noise = coloured(samples, rng.uniform(0.0, 2.0), rng)
    points = rng.uniform(0.05, 1, size=3 + samples // SAMPLE_RATE)
    shape = np.interp(np.linspace(0, len(points) - 1, samples), np.arange(len(points)), points)
    return np.asarray(noise * shape**2, np.float32)


def _add(onto: Sound, piece: Sound, at: int) -> None:
    room = min(len(piece), len(onto) - at)
    onto[at : at + room] += piece[:room]
