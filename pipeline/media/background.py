"""What stands behind a person instead of the picture's own: a colour, a picture, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

from pipeline.errors import BackgroundInvalid
from pipeline.media.image_file import hash_picture
from pipeline.media.image_sandbox import load_picture

TRANSPARENT: Final = "transparent"
GREEN: Final = (0, 177, 64)  # the green of studio walls
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Background:
    """A colour (RGB), a picture (H, W, 3), or nothing where both are None."""

    colour: tuple[int, int, int] | None = None
    picture: U8 | None = None

    @property
    def transparent(self) -> bool:
        """Whether frames carry a matte of the person and nothing else."""
        return self.colour is None and self.picture is None

    def plate(self, width: int, height: int) -> U8:
        """The background (height, width, 3); black where it is transparent.

        A picture is scaled to cover the frame and cut around its middle.
        """
        if self.picture is None:
            return np.full((height, width, 3), self.colour or (0, 0, 0), np.uint8)
        fitted = ImageOps.fit(
            Image.fromarray(self.picture), (width, height), Image.Resampling.LANCZOS
        )
        return np.asarray(fitted, np.uint8)


def read_background(text: str) -> Background:
    """The background that a picture file or, as for ``read_colour``, a word names.

    Raises ``BackgroundInvalid``, or a ``PictureError`` for a file that is no picture.
    """
    if (path := Path(text)).exists():
        return Background(picture=load_picture(hash_picture(path)).pixels)
    return read_colour(text)


def read_colour(text: str) -> Background:
    """The background that ``green``, ``transparent`` or a colour names; opens no file.

    Colours are those of CSS: names, ``#rrggbb``, ``rgb(0, 177, 64)``. Raises ``BackgroundInvalid``.
    """
    if text == TRANSPARENT:
        return Background()
    if text == "green":
        return Background(GREEN)
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError as error:
        raise BackgroundInvalid(
            f"background {text[:60]!r} is no file and no colour: name a picture, green,"
            " transparent or a colour such as #202830"
        ) from error
    return Background((red, green, blue))


def cut_out(over_black: U8, over_white: U8) -> tuple[U8, U8]:
    """Colours (H, W, 3) and matte (H, W) of what was drawn over black and over white.

    Colours are straight, not multiplied by the matte, and black where nothing was drawn.
    """
    seen = over_white.astype(np.int16) - over_black
    matte = np.clip(255 - seen.max(-1), 0, 255).astype(np.uint8)
    full = np.maximum(matte, 1).astype(np.uint16)[..., None]
    colours = np.minimum((over_black * np.uint16(255) + full // 2) // full, 255)
    return np.where(matte[..., None] > 0, colours, 0).astype(np.uint8), matte


def beside(image: U8, matte: U8) -> U8:
    """A picture (H, 2 W, 3): the person at the left, the matte as greys at the right."""
    return np.hstack([image, np.repeat(matte[..., None], 3, axis=2)])
