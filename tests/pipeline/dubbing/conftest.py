"""Footage: a bundled avatar's picture under a hand-held camera, a second of it or less."""

from __future__ import annotations

import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.models.mini.pipeline import AvatarPipeline

Clip = Callable[..., Path]
SIZE = (320, 320)
WHO = "mira"


def pictures(count: int) -> list[np.ndarray]:
    """Frames (320, 320, 3), each shifted by a little."""
    picture = np.asarray(Image.open(find_avatar(WHO).reference).convert("RGB"))
    scale = SIZE[0] / picture.shape[1]
    out = []
    for k in range(count):
        way = np.array([[1.6 * scale, 0, -96 + 2 * np.sin(k)], [0, 1.6 * scale, -20 + np.cos(k)]])
        out.append(cv2.warpAffine(picture, way, SIZE, flags=cv2.INTER_AREA))
    return out


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Writes a clip: its pixel format, quarter turns, and milliseconds between frames."""
    shown = pictures(10)

    def write(name: str, form: str = "yuv420p", turned: int = 0, steps: tuple[int, ...] = (40,)):
        path = tmp_path_factory.mktemp("clip") / name
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height = SIZE
            stream.pix_fmt, stream.codec_context.time_base = form, Fraction(1, 1000)
            if turned:
                stream.set_display_rotation(90 * turned)
            at = 0
            for k, picture in enumerate(shown):
                stored = np.ascontiguousarray(np.rot90(picture, -turned))
                frame = av.VideoFrame.from_ndarray(stored, "rgb24").reformat(format=form)
                frame.pts, frame.time_base = at, Fraction(1, 1000)
                at += steps[k % len(steps)]
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def talk(clip: Clip) -> Path:
    return clip("talk.mp4")


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of a voice-like sound."""
    path = tmp_path_factory.mktemp("words") / "words.wav"
    t = np.arange(8000) / 16_000
    sound = sum(np.sin(2 * np.pi * 140 * n * t) / n for n in range(1, 20))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((0.2 * sound * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def model() -> AvatarPipeline:
    return AvatarPipeline.load()
