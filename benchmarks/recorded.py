"""Recorded speech of real people, for which there is no true motion: does the mouth go with it?

Speech and rest are told apart by loudness alone: a frame speaks when it is within 30 dB of the
recording's loud frames and rests when it and its neighbours are 45 dB under them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.generate import Motion
from benchmarks.lips import Row
from benchmarks.motion import Series, mouth_opening
from pipeline.media.audio_file import open_audio, speech
from pipeline.models.mini.config import SAMPLE_RATE, SAMPLES_PER_FRAME

DEBIAN: Final = Path("/usr/share/sounds/alsa")  # alsa-utils: one woman, a word or two a file
REST: Final = 2 * SAMPLE_RATE  # silence before and after each recording
SPEAKS_DB: Final = -30.0
RESTS_DB: Final = -45.0
AROUND: Final = 4  # frames of quiet on either side of a frame that rests


def recordings(folder: Path) -> list[Path]:
    """The recordings of speech in a folder."""
    return sorted(p for p in folder.glob("*.wav") if p.stem != "Noise")


def recorded(motion: Motion, paths: Sequence[Path], reference: NDArray[np.float32]) -> Row:
    """Opening of the mouth while they speak and while they rest, and how it follows loudness."""
    if not paths:
        raise ValueError("no recordings of speech: name a folder with WAV files in it")
    moving, resting, follows = [], [], []
    for seed, path in enumerate(paths):
        sound = np.concatenate([_silence(), *speech(open_audio(path)), _silence()])
        opening = mouth_opening(motion.perform(sound, reference, "", seed))
        level = _level(sound, len(opening))
        speaks = level > SPEAKS_DB
        rests = np.convolve(level > RESTS_DB, np.ones(2 * AROUND + 1), "same") == 0
        moving.append(opening[speaks].mean())
        resting.append(np.percentile(opening[rests], 90))
        follows.append(_follows(opening, level))
    return {
        "recorded_opening_mm": 1e3 * float(np.mean(moving)),
        "recorded_rest_mm": 1e3 * float(np.mean(resting)),
        "recorded_follows_loudness": float(np.mean(follows)),
    }


def _silence() -> NDArray[np.float32]:
    return np.zeros(REST, np.float32)


def _level(sound: NDArray[np.float32], frames: int) -> Series:
    """Loudness of each frame in dB under the loud frames, (frames,)."""
    padded = np.pad(sound, (0, max(0, frames * SAMPLES_PER_FRAME - len(sound))))
    power = np.square(padded[: frames * SAMPLES_PER_FRAME].astype(np.float64))
    level = 10 * np.log10(power.reshape(frames, -1).mean(1) + 1e-10)
    return np.asarray(level - np.percentile(level[level > -60], 95), np.float64)


def _follows(opening: Series, level: Series) -> float:
    """Correlation of the opening with loudness above the floor, both over 120 ms."""
    smooth = np.ones(3) / 3
    loud = np.convolve(np.maximum(level, RESTS_DB), smooth, "same")
    return float(np.corrcoef(np.convolve(opening, smooth, "same"), loud)[0, 1])
