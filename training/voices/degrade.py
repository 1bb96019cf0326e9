"""What a call does to a voice: room, noise, microphone, codec, lost packets.

Each hurt comes by its own chance (`CHANCES`), in the order in which sound meets it. What is heard
stays where it was in time: the direct path has no delay, filters have no phase, the codec's delay
is taken out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import butter, fftconvolve, sosfiltfilt

from training.voices.clips import SAMPLE_RATE
from training.voices.opus import through_opus
from training.voices.quiet import coloured, hum

CHANCES = {
    "untouched": 0.08,  # and nothing else happens
    "room": 0.4,
    "noise": 0.6,
    "hum": 0.08,
    "babble": 0.2,  # only where other voices are given
    "band": 0.15,
    "gain": 0.85,
    "clip": 0.08,
    "offset": 0.1,
    "opus": 0.6,
    "loss": 0.12,
}


def degrade(
    audio: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    babble: Sequence[NDArray[np.float32]] = (),
) -> NDArray[np.float32]:
    """Speech (N,) at 16 kHz as a call brings it: same length, same time, within [-1, 1].

    `babble` are other voices that may be heard faintly behind. Raises ValueError for sound that
    is not one channel.
    """
    if audio.ndim != 1:
        raise ValueError(f"degrade takes one channel of shape (N,), got {audio.shape}")
    if len(audio) == 0 or rng.random() < CHANCES["untouched"]:
        return audio.astype(np.float32, copy=True)
    sound = audio.astype(np.float32, copy=True)
    level = _speech_level(audio)

    def comes(hurt: str) -> bool:
        return bool(rng.random() < CHANCES[hurt])

    if comes("room"):
        sound = room(sound, rng)
    if comes("noise"):
        noise = _noise(len(sound), rng)
        sound += noise * _behind(level, rng.uniform(5, 40))
    if comes("hum"):
        sound += hum(len(sound), rng) * _behind(level, rng.uniform(15, 40))
    if babble and comes("babble"):
        sound += _babble(len(sound), babble, rng) * _behind(level, rng.uniform(10, 30))
    if comes("band"):
        sound = band(sound, rng)
    if comes("gain"):
        sound *= np.float32(10 ** (rng.uniform(-30, 6) / 20))
    if comes("clip"):
        limit = float(np.abs(sound).max()) * rng.uniform(0.2, 0.8)
        sound = np.clip(sound, -limit, limit)
    if comes("offset"):
        sound += np.float32(rng.uniform(-0.05, 0.05))
    if comes("opus"):
        sound = through_opus(sound, int(rng.uniform(16_000, 64_000)))
    if comes("loss"):
        sound = lose_packets(sound, rng)
    return np.clip(sound, -1, 1).astype(np.float32)


def room(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Reflections of a room with RT60 of 0.1 to 0.6 s behind an undelayed direct path."""
    rt60 = rng.uniform(0.1, 0.6)
    time = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail[: int(rng.uniform(0.001, 0.008) * SAMPLE_RATE)] = 0  # the way to the nearest wall
    damped = np.convolve(tail, np.ones(3) / 3, "same") if rng.random() < 0.7 else tail
    ratio_db = rng.uniform(0, 18)  # direct over reverberant
    damped *= 10 ** (-ratio_db / 20) / (np.sqrt((damped**2).sum()) + 1e-9)
    damped[0] += 1
    heard = fftconvolve(sound, damped.astype(np.float32))[: len(sound)]
    return np.asarray(heard, np.float32)


def band(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Telephone band or a dull microphone, without phase."""
    low, high = (300, 3400) if rng.random() < 0.5 else (rng.uniform(20, 250), rng.uniform(3e3, 7e3))
    sos = butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos")
    margin = min(len(sound) - 1, SAMPLE_RATE // 10)
    return np.asarray(sosfiltfilt(sos, sound, padlen=margin), np.float32)


def lose_packets(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaps of 20 to 60 ms, silent or filled with what came just before, faded."""
    packet = SAMPLE_RATE // 50
    heard = sound.copy()
    losses = rng.random(len(sound) // packet) < rng.uniform(0.005, 0.05)
    repeat = rng.random() < 0.5
    for i in np.flatnonzero(losses):
        start, packets = int(i) * packet, int(rng.integers(1, 4))
        gap = heard[start : start + packets * packet]  # a view: the sound ends where it ends
        gap[:] = 0
        if repeat and i > 0:
            before = heard[start - packet : start]
            gap[:] = np.resize(before, len(gap)) * np.linspace(0.9, 0.1, len(gap))
    return heard


def _speech_level(audio: NDArray[np.float32]) -> float:
    """Root mean square of the louder half of the sound; a plain level where nobody speaks."""
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    power = np.sort((frames**2).mean(axis=1))[len(frames) // 2 :] if len(frames) else audio**2
    level = float(np.sqrt(power.mean()))
    return level if level > 1e-3 else 0.05


def _behind(level: float, ratio_db: float) -> np.float32:
    return np.float32(level * 10 ** (-ratio_db / 20))


def _noise(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Stationary or swelling noise between white and brown, of unit deviation."""
    noise = coloured(next_fast_len(samples), rng.uniform(0, 2), rng)[:samples]
    if rng.random() < 0.4:
        points = 10 ** rng.uniform(-0.5, 0.3, size=3 + samples // SAMPLE_RATE)
        at = np.linspace(0, len(points) - 1, samples)
        noise *= np.interp(at, np.arange(len(points)), points).astype(np.float32)
    return noise


def _babble(
    samples: int, voices: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Up to four voices at once, of unit deviation."""
    total = np.zeros(samples, np.float32)
    for i in rng.integers(len(voices), size=int(rng.integers(1, 5))):
        voice = np.resize(voices[i], samples) if len(voices[i]) else total
        total += np.roll(voice, int(rng.integers(samples)))
    return total / np.float32(total.std() + 1e-6)
