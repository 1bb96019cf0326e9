"""The reference picture as a file: its bytes, their hash and the limits of decoding them.

``hash_picture`` reads bytes and nothing else, so that consent can be asked for before any decoder
runs. ``pipeline.media.image_sandbox.load_picture`` turns the very bytes that were hashed into
pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PictureMissing, PictureTooLarge

FORMATS: Final = ("PNG", "JPEG", "WEBP")
MAX_PIXELS: Final = 40_000_000
MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Upright pixels and the SHA-256 of the file that they came from.

    ``pixels`` is uint8 (H, W, 3) RGB, on white where the file is transparent; ``alpha`` is the
    file's own transparency, uint8 (H, W), or None.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    alpha: NDArray[np.uint8] | None = None

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True)
class Bounds:
    """What decoding a stranger's picture may take."""

    seconds: float = 15.0
    megabytes: int = 1536
    pixels: int = MAX_PIXELS
    bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class PictureFile:
    """A picture's bytes and their hash, not looked at yet.

    ``limit`` is the most pixels that are decoded; with ``bounds``, decoding happens apart.
    """

    name: str
    data: bytes
    sha256: str
    limit: int = MAX_PIXELS
    bounds: Bounds | None = None


def hash_picture(path: Path) -> PictureFile:
    """Reads a file and hashes it; decodes nothing. Raises ``PictureMissing``, ``-TooLarge``."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PictureTooLarge(
                f"picture {path} has {size} bytes, the limit is {MAX_BYTES}: save it smaller"
            )
        data = path.read_bytes()
    except OSError as error:
        raise PictureMissing(
            f"cannot read picture {path} ({error.strerror}): name a {', '.join(FORMATS)} file"
        ) from error
    return hashed(data, str(path))


def hashed(data: bytes, name: str = "the picture", bounds: Bounds | None = None) -> PictureFile:
    """A picture that is in memory already; ``name`` is what errors call it.

    ``bounds`` are for bytes that a stranger sent. Raises ``PictureTooLarge``.
    """
    most = bounds.bytes if bounds else MAX_BYTES
    if len(data) > most:
        raise PictureTooLarge(
            f"picture {name} has {len(data)} bytes, the limit is {most}: save it smaller"
        )
    limit = bounds.pixels if bounds else MAX_PIXELS
    return PictureFile(name, data, hashlib.sha256(data).hexdigest(), limit, bounds)
