"""A picture's pixels from its bytes, in this process: upright RGB, or an error that says why not.

Refuses what cannot be a reference: foreign formats, animations, too few pixels or too many. The
number of pixels is limited before they are decoded.
"""

from __future__ import annotations

import threading
import warnings
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import (
    PictureAnimated,
    PictureTooLarge,
    PictureTooSmall,
    PictureUnreadable,
)
from pipeline.media.image_color import to_srgb
from pipeline.media.image_file import FORMATS, Picture, PictureFile

MIN_SIDE: Final = 128
_BACKGROUND: Final = (255, 255, 255, 255)  # what shows through transparent pictures
_FOREIGN: Final = {
    b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"8BPS": "PSD",
    b"%PDF": "PDF", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"<svg": "SVG",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}  # fmt: skip
_WARNINGS: Final = threading.Lock()  # Python's warning filters are shared by all threads


def decode_picture(file: PictureFile) -> Picture:
    """Decodes a still picture, turned upright as its EXIF says; raises a ``PictureError``."""
    image = _header(file)
    _check_still(image, file.name)
    _check_size(image.size, file.name, file.limit)
    try:
        pixels, alpha = _decoded(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        raise PictureUnreadable(
            f"picture {file.name} is damaged or cut off ({error}): export it again"
        ) from error
    return Picture(pixels, file.sha256, alpha)


def _header(file: PictureFile) -> Image.Image:
    """Parses the header alone; Pillow's own alarm about many pixels is ours to raise."""
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(BytesIO(file.data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureTooLarge(_too_large(file.name, "too many", file.limit)) from error
    except UnidentifiedImageError as error:
        kind = _kind(file.data)
        what = f"{kind}, which is not read" if kind else "not a picture that can be read"
        raise PictureUnreadable(f"{file.name} is {what}: use {', '.join(FORMATS)}") from error
    except Exception as error:  # as above: a hostile header may fail anywhere
        raise PictureUnreadable(f"{file.name} is not a whole picture ({error})") from error


def _kind(data: bytes) -> str | None:
    """What else people send, by how it begins."""
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC or another film format"
    return next((name for mark, name in _FOREIGN.items() if data.startswith(mark)), None)


def _check_still(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # phones put a second view behind a JPEG
        raise PictureAnimated(
            f"picture {name} is animated ({frames} frames): save one frame as a still"
        )


def _check_size(size: tuple[int, int], name: str, limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise PictureTooLarge(_too_large(name, f"{width}x{height}", limit))
    if min(width, height) < MIN_SIDE:
        raise PictureTooSmall(
            f"picture {name} is {width}x{height}, each side needs at least {MIN_SIDE} pixels:"
            " use a larger one"
        )


def _too_large(name: str, what: str, limit: int) -> str:
    return f"picture {name} has {what} pixels, the limit is {limit / 1e6:g} million: scale it down"


def _decoded(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        eight = (np.asarray(image, np.float32) / 257).round().astype(np.uint8)
        profile, image = image.info.get("icc_profile"), Image.fromarray(eight)
        image.info["icc_profile"] = profile
    image = to_srgb(image)
    if image.mode == "RGB":
        return np.array(image, np.uint8), None
    opaque = Image.new("RGBA", image.size, _BACKGROUND)
    pixels = Image.alpha_composite(opaque, image).convert("RGB")
    return np.array(pixels, np.uint8), np.array(image.getchannel("A"), np.uint8)
