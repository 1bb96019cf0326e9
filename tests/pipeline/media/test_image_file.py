"""The reference picture: hashed before it is looked at, refused before it is decoded."""

from __future__ import annotations

import hashlib
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import (
    PictureAnimated,
    PictureError,
    PictureMissing,
    PictureTooLarge,
    PictureTooSmall,
    PictureUnreadable,
)
from pipeline.media.image_file import MAX_BYTES, hash_picture, hashed
from pipeline.media.image_sandbox import load_picture


def gradient(width: int = 200, height: int = 160) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    image[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data, b"IEND")
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_still_comes_back_pixel_for_pixel_with_its_files_hash(kind: str) -> None:
    data = encoded(Image.fromarray(gradient()), kind, lossless=True)
    picture = load_picture(hashed(data))
    np.testing.assert_array_equal(picture.pixels, gradient())
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert (picture.width, picture.height) == (200, 160)


def test_hashing_looks_at_bytes_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    file = hash_picture(tmp_path / "a.png")
    assert file.sha256 == hashlib.sha256(b"no picture at all").hexdigest()
    with pytest.raises(PictureUnreadable, match=r"a\.png"):
        load_picture(file)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_turned_by_exif_comes_out_upright(orientation: int) -> None:
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
             6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = Image.fromarray(gradient())
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[turns[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(hashed(encoded(stored, exif=exif)))
    np.testing.assert_array_equal(picture.pixels, gradient())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    source = Image.fromarray(gradient())
    if mode == "I;16":
        grey = np.asarray(source.convert("L")).astype(np.uint16) * 257
        source = Image.fromarray(grey)
    else:
        source = source.convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = load_picture(hashed(encoded(source, kind))).pixels.astype(int)
    assert pixels.shape == (160, 200, 3)
    assert pixels[-40:, -40:].mean() > pixels[:40, :40].mean() + 60


def test_transparency_shows_white_and_is_kept() -> None:
    clear = np.zeros((128, 128, 4), np.uint8)
    clear[:64, :, 3] = 200
    picture = load_picture(hashed(encoded(Image.fromarray(clear))))
    assert picture.pixels[100, 100].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(picture.alpha, clear[..., 3])
    assert load_picture(hashed(encoded(Image.fromarray(gradient())))).alpha is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [Image.fromarray(np.roll(gradient(), k, 1)) for k in (0, 40, 80)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(PictureAnimated, match="3 frames"):
        load_picture(hashed(data))


def test_an_animated_gif_is_no_reference() -> None:
    frames = [Image.fromarray(np.roll(gradient(), k, 1)) for k in (0, 40)]
    with pytest.raises(PictureError):
        load_picture(hashed(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))


def test_a_tiny_picture_is_refused_with_both_sizes() -> None:
    with pytest.raises(PictureTooSmall, match="400x127.*128"):
        load_picture(hashed(encoded(Image.fromarray(gradient(400, 127)))))


@pytest.mark.parametrize("size", [(7_000, 7_000), (12_000, 10_000), (60_000, 60_000)])
def test_a_pixel_bomb_is_refused_by_its_header(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise RuntimeError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(PictureTooLarge, match="40 million"):
        load_picture(hashed(png_header(*size)))


def test_too_many_bytes_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PictureTooLarge):
        hash_picture(tmp_path / "a.png")
    with pytest.raises(PictureTooLarge):
        hashed(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_picture_that_was_cut_off_is_refused(kind: str, kept: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PictureUnreadable):
        load_picture(hashed(data[: int(len(data) * kept)]))


def test_what_is_no_picture_or_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for data in (b"", b"hello", b"%PDF-1.7 ...", np.random.default_rng(0).bytes(4_000)):
        with pytest.raises(PictureUnreadable):
            load_picture(hashed(data))
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(PictureMissing, match=str(path)):
            hash_picture(path)
