"""Colours: the same light comes out of every profile that a file may carry."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.errors import PictureUnreadable
from pipeline.media.image_file import hashed
from pipeline.media.image_sandbox import load_picture

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
# Colorants adapted to D50, as rows of red, green, blue (ICC registry: sRGB, Display P3, Adobe RGB).
SRGB = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7139]])
P3 = np.array([[0.5151, 0.2412, -0.0011], [0.2919, 0.6922, 0.0419], [0.1572, 0.0666, 0.7841]])
ADOBE = np.array([[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]])
GAMMA = 563 / 256  # what Adobe RGB's curve is


def tag(kind: bytes, body: bytes) -> bytes:
    return (kind + bytes(4) + body).ljust(-(-(8 + len(body)) // 4) * 4, b"\0")


def xyz(values: F64) -> bytes:
    return tag(b"XYZ ", struct.pack(">3i", *(round(v * 65_536) for v in values)))


def curve(gamma: float) -> bytes:
    return tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)))


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC profile of version 2 (ICC.1:2001-04, section 6)."""
    words = b"test profile\0"
    text = struct.pack(">I", len(words)) + words + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": tag(b"desc", text), b"cprt": tag(b"text", b"none\0"),
            b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249])), **tags}  # fmt: skip
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", at + len(data), len(body))
        data += body
    size, connection = at + len(data), b"Lab " if space == b"CMYK" else b"XYZ "
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, kind, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63_190, 65_536, 54_061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def matrix(colorants: F64, gamma: float) -> bytes:
    names = zip((b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC"), colorants, strict=True)
    tags = {
        n: v for place, bend, row in names for n, v in ((place, xyz(row)), (bend, curve(gamma)))
    }
    return profile(b"RGB ", tags)


def inks() -> bytes:
    """CMYK whose full inks darken each other as in a simple press; Lab at the 16 corners."""
    ramp = bytes(range(256))
    corners = b""
    for k in range(16):
        c, m, y, black = (k >> 3) & 1, (k >> 2) & 1, (k >> 1) & 1, k & 1
        light = (100 - 25 * c - 30 * m - 10 * y) * (1 - black)
        a, b = (-30 * c + 60 * m) * (1 - black), (-40 * c + 80 * y) * (1 - black)
        corners += bytes([round(light * 2.55), a + 128, b + 128])
    unit = struct.pack(">9i", *(65_536 * (i % 4 == 0) for i in range(9)))
    lut = tag(b"mft1", bytes([4, 3, 2, 0]) + unit + ramp * 4 + corners + ramp * 3)
    return profile(b"CMYK", {b"A2B0": lut})


def saved(image: Image.Image, icc: bytes | None, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, icc_profile=icc, **options)
    return out.getvalue()


def patches() -> U8:
    """Colours that every one of the spaces can show, 16 px squares in a 256 px picture."""
    rng = np.random.default_rng(4)
    return np.kron(rng.integers(70, 190, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)


def linear(srgb: F64) -> F64:
    return np.asarray(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4))


def in_space(pixels: U8, colorants: F64, gamma: float) -> U8:
    """The same light in numbers of another space."""
    light = linear(pixels / 255) @ SRGB @ np.linalg.inv(colorants)
    return np.asarray((light.clip(0, 1) ** (1 / gamma) * 255).round(), np.uint8)


def read(data: bytes) -> U8:
    return load_picture(hashed(data)).pixels


def off(found: U8, truth: U8) -> float:
    return float(np.abs(found.astype(float) - truth).mean())


@pytest.mark.parametrize("colorants", [P3, ADOBE], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_wide_gamuts_come_out_as_the_same_light(colorants: F64, kind: str) -> None:
    numbers = in_space(patches(), colorants, GAMMA)
    options = {"PNG": {}, "JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = saved(Image.fromarray(numbers), matrix(colorants, GAMMA), kind, **options[kind])
    assert off(read(data), patches()) < 1.5 < 4 < off(numbers, patches())


def test_profiles_hold_in_progressive_files_and_turned_ones() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    numbers = Image.fromarray(np.rot90(in_space(patches(), P3, GAMMA)).copy())
    data = saved(numbers, matrix(P3, GAMMA), "JPEG", quality=98, subsampling=0,
                 progressive=True, exif=exif)  # fmt: skip
    assert off(read(data), patches()) < 1.5


def test_a_grey_profile_changes_grey() -> None:
    grey = patches()[..., 0]
    bent = np.asarray((linear(grey / 255) ** (1 / 1.0) * 255).round(), np.uint8)  # gamma 1
    data = saved(Image.fromarray(bent), profile(b"GRAY", {b"kTRC": curve(1.0)}))
    assert off(read(data), np.repeat(grey[..., None], 3, 2)) < 1.5


def test_sixteen_bit_grey_keeps_its_profile() -> None:
    grey = patches()[..., 0]
    wide = np.asarray((linear(grey / 255) * 65_535).round(), np.uint16)
    data = saved(Image.fromarray(wide), profile(b"GRAY", {b"kTRC": curve(1.0)}))
    assert off(read(data), np.repeat(grey[..., None], 3, 2)) < 1.5


def test_inks_come_out_as_they_print() -> None:
    ink = np.zeros((160, 160, 4), np.uint8)
    ink[:, 80:, 1] = 255  # magenta: L 70, a 60, b 0
    found = read(saved(Image.fromarray(ink, "CMYK"), inks(), "JPEG", quality=98, subsampling=0))
    assert off(found[:, :70], np.full((160, 70, 3), 255, np.uint8)) < 3
    y = (70 + 16) / 116  # CIE 1976: back from L, a and b
    light = np.array([0.9642, 1.0, 0.8249]) * np.array([y + 60 / 500, y, y]) ** 3
    truth = (light @ np.linalg.inv(SRGB)).clip(0, 1)
    shown = np.where(truth < 0.0031308, 12.92 * truth, 1.055 * truth ** (1 / 2.4) - 0.055) * 255
    assert off(found[:, 90:], shown.astype(np.uint8)) < 4


def test_palettes_and_transparency_keep_their_profile() -> None:
    numbers = Image.fromarray(in_space(patches(), P3, GAMMA))
    icc = matrix(P3, GAMMA)
    clear = numbers.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.uint8([255, 0]), (256, 128))))
    found = load_picture(hashed(saved(clear, icc)))
    assert found.alpha is not None and set(np.unique(found.alpha)) == {0, 255}
    assert off(found.pixels[:, ::2], patches()[:, ::2]) < 1.5
    assert (found.pixels[:, 1::2] == 255).all()
    assert off(read(saved(numbers.quantize(256), icc)), patches()) < 6


@pytest.mark.parametrize("icc", [b"", b"no profile at all", inks()], ids=["none", "bad", "other"])
def test_what_no_profile_explains_is_taken_as_srgb(icc: bytes) -> None:
    assert (read(saved(Image.fromarray(patches()), icc or None)) == patches()).all()


def test_srgb_itself_is_not_touched() -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (read(saved(Image.fromarray(patches()), icc)) == patches()).all()


def test_a_profile_changes_colours_and_not_the_hash_of_the_file() -> None:
    data = saved(Image.fromarray(patches()), matrix(P3, GAMMA))
    assert load_picture(hashed(data)).sha256 == hashed(data).sha256


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC"),
        (b"\0\0\0\x1cftypavif" + bytes(200), "AVIF"),
        (b"II*\0" + bytes(200), "TIFF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xff\x0a" + bytes(200), "JPEG XL"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, name: str) -> None:
    with pytest.raises(PictureUnreadable, match=f"{name}.* not read: use PNG, JPEG, WEBP"):
        load_picture(hashed(data))
