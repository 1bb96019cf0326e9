"""The server with a fake pipeline, in this process, and a voice on file."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.server.conftest import pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]

RATE = 48_000


def babble(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """Noise in syllables, with a pause of a second in every three: nowhere like itself."""
    rng = np.random.default_rng(seed)
    at = np.arange(int(seconds * RATE)) / RATE
    noise = np.convolve(rng.standard_normal(len(at)), np.ones(12) / 12, "same")
    envelope = (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)) * (at % 3 >= 1)
    return (noise * envelope * 12_000).clip(-32_000, 32_000).astype(np.int16)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Three seconds of babble at 16 kHz, as a WAV."""
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(babble(3.0)[::3].astype("<i2").tobytes())
    return path
