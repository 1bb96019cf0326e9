"""Strangers' pictures: decoded apart, within bounds; what goes wrong there is a refusal here."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PictureTooCostly, PictureTooLarge, PictureUnreadable
from pipeline.media import image_sandbox
from pipeline.media.image_file import Bounds, hashed
from pipeline.media.image_sandbox import load_picture

BOUNDS = Bounds(seconds=10.0, megabytes=1024)


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (height, width, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A few kilobytes of PNG that say they are huge and black."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(height * 8), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_apart_or_not_the_pixels_are_the_same(mode: str) -> None:
    data = png(200, 160, mode)
    here, apart = load_picture(hashed(data)), load_picture(hashed(data, bounds=BOUNDS))
    assert (here.pixels == apart.pixels).all() and here.sha256 == apart.sha256
    assert (here.alpha is None) == (apart.alpha is None)
    if here.alpha is not None and apart.alpha is not None:
        assert (here.alpha == apart.alpha).all()


def test_what_is_refused_here_is_refused_there_in_the_same_words() -> None:
    for data in (b"not a picture", png(100, 300), png(300, 300)[:2000]):
        with pytest.raises(Exception) as here:
            load_picture(hashed(data))
        with pytest.raises(type(here.value)) as apart:
            load_picture(hashed(data, bounds=BOUNDS))
        assert str(apart.value) == str(here.value)


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(PictureTooLarge, match="40 million"):
        load_picture(hashed(bomb(60_000, 60_000), bounds=BOUNDS))
    with pytest.raises(PictureTooLarge, match="0.04 million"):
        load_picture(hashed(png(300, 300), bounds=Bounds(10.0, 1024, pixels=40_000)))
    with pytest.raises(PictureTooLarge, match="bytes"):
        hashed(png(300, 300), bounds=Bounds(10.0, 1024, bytes=1000))


def test_a_picture_that_takes_too_much_memory_is_refused() -> None:
    with pytest.raises(PictureTooCostly, match="256 MB"):
        file = io.BytesIO()
        Image.new("RGBA", (6000, 6000)).save(file, "PNG")
        load_picture(hashed(file.getvalue(), bounds=Bounds(20.0, 256)))


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("while True: pass", PictureTooCostly),
        ("import os; os.kill(os.getpid(), 11)", PictureUnreadable),
        ("raise SystemExit(7)", PictureUnreadable),
        ("open('/dev/null')", PictureUnreadable),
        ('print(\'{"error": "SystemExit", "message": "x"}\')', PictureUnreadable),
    ],
)
def test_a_decoder_that_hangs_or_crashes_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, code: str, refusal: type[Exception]
) -> None:
    confined = "from pipeline.media.image_sandbox import _confine, Bounds; _confine(Bounds(1, 512))"
    setup = "import sys; sys.path.insert(0, sys.argv[1]); sys.stdin.buffer.read()"
    monkeypatch.setattr(image_sandbox, "_CODE", f"{setup}; {confined}\n{code}")
    started = time.monotonic()
    with pytest.raises(refusal):
        load_picture(hashed(png(200, 200), bounds=Bounds(1.0, 512)))
    assert time.monotonic() - started < 25
