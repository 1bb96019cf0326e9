"""The size of a session's pictures and what stands behind the person, as callers ask for them."""

from __future__ import annotations

from typing import Final

from pipeline.errors import BackgroundInvalid
from pipeline.media.background import Background, read_colour

# A few sizes, since an avatar is kept ready at each that was asked for.
SIZES: Final = ("512x512", "576x1024", "720x1280", "1024x576", "1280x720")
SIZE_NAMES: Final = "one of " + ", ".join(SIZES)
BACKGROUNDS: Final = "green, transparent, or a colour such as #202830"


def size_of(text: str) -> tuple[int, int] | None:
    """Width and height of pictures; None leaves them to the model. Raises ``ValueError``."""
    if not text:
        return None
    if text not in SIZES:
        raise ValueError(f"a size must be {SIZE_NAMES}, not {text[:20]!r}")
    width, height = text.split("x")
    return int(width), int(height)


def background_of(text: str) -> Background | None:
    """What stands behind the person; None is the picture's own. Raises ``ValueError``.

    Callers name no files: a server's disk is not theirs to look at.
    """
    try:
        return read_colour(text) if text else None
    except BackgroundInvalid as failure:
        raise ValueError(f"a background must be {BACKGROUNDS}") from failure


def check_size(text: str) -> str:
    """The text, if it is a size. Raises ``ValueError``."""
    size_of(text)
    return text


def check_background(text: str) -> str:
    """The text, if it is a background. Raises ``ValueError``."""
    background_of(text)
    return text
