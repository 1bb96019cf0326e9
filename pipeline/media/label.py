"""The visible mark: a small "AI" in every generated frame.

Drawn once for each frame size, then blended into a few thousand pixels, which takes microseconds.
It is added where frames leave the pipeline (streams and renders), not where they are painted, so
that measurements of painting and of drift see unmarked frames.

Frames without the mark need ``removed``, which requires a reason and logs it first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

U8 = NDArray[np.uint8]

MAX_TEXT: Final = 24
LEAST_PX: Final = 16  # height of the mark; below that, its letters are guesswork
SHARE: Final = 0.05  # of the frame's shorter side
MARGIN: Final = 0.04  # from the edges, so that rounded corners do not cut it
CLEAR: Final = 0.11  # from the lower edge: a measuring strip would cover what is below
_FINER: Final = 4  # drawn so much larger, then averaged
_LEAST_WORDS: Final = 12  # characters of a declaration


class Place(StrEnum):
    """The corner in which the mark is."""

    TOP_LEFT = "top-left"
    TOP_RIGHT = "top-right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM_RIGHT = "bottom-right"


class Style(StrEnum):
    """Light letters on a dark shape, the other way round, or letters with an outline."""

    DARK = "dark"
    LIGHT = "light"
    OUTLINE = "outline"


_LOOKS: Final = {  # grey of the ground, its opacity, grey of the letters
    Style.DARK: (16, 0.62, 255),
    Style.LIGHT: (250, 0.72, 20),
    Style.OUTLINE: (0, 0.0, 255),
}

Record = Callable[[str, str], object]
"""Writes an audit entry: what was done, and its details. Raises when it cannot."""


@dataclass(frozen=True, slots=True)
class Label:
    """How the mark looks. ``declaration`` is empty unless ``removed`` made this one."""

    text: str = "AI"
    place: Place = Place.TOP_RIGHT
    style: Style = Style.DARK
    declaration: str = ""
    _key: object = None

    def __post_init__(self) -> None:
        if not self.text.strip() or len(self.text) > MAX_TEXT:
            raise ValueError(
                f"the label has 1 to {MAX_TEXT} characters, not {len(self.text.strip())}"
            )
        if self.declaration and self._key is not _REMOVED:
            raise ValueError("a label is removed with media.label.removed, which is audited")

    def stamp(self, image: U8) -> U8:
        """Burns the mark into ``image``, uint8 (H, W, 3), in place, and returns it.

        A read-only image is copied first.
        """
        if self.declaration:
            return image
        if not image.flags.writeable:
            image = image.copy()
        mark = _mark(self.text, self.place, self.style, image.shape[1], image.shape[0])
        region = image[mark.rows, mark.columns]
        region[:] = (region * mark.keep + mark.add) >> 8
        return image

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Where the mark lies in frames of this size: left, upper, right, lower."""
        mark = _mark(self.text, self.place, self.style, width, height)
        return mark.columns.start, mark.rows.start, mark.columns.stop, mark.rows.stop


_REMOVED: Final = object()  # only ``removed`` makes a label with a declaration


def removed(declaration: str, operator: str, record: Record) -> Label:
    """A label that is not drawn, for a stated reason; ``record`` logs it first.

    Raises ``ValueError`` when the words say nothing, and whatever ``record`` raises.
    """
    words = " ".join(declaration.split())
    if len(words) < _LEAST_WORDS or not operator.strip():
        raise ValueError(
            f"say why frames go unmarked, and who says so: at least {_LEAST_WORDS} characters,"
            f" not {words!r} by {operator!r}"
        )
    record("label.removed", f"{operator.strip()}: {words}")
    return Label(declaration=words, _key=_REMOVED)


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """A drawn mark: new = (old * keep + add) >> 8, all uint16 (h, w, 1)."""

    rows: slice
    columns: slice
    keep: NDArray[np.uint16]
    add: NDArray[np.uint16]


@lru_cache(maxsize=32)
def _mark(text: str, place: Place, style: Style, width: int, height: int) -> _Mark:
    ground, letters = _drawn(text, max(LEAST_PX, round(SHARE * min(width, height))))
    h, w = min(height, ground.shape[0]), min(width, ground.shape[1])
    grey, opacity, ink = _LOOKS[style]
    if style is Style.OUTLINE:
        ground, opacity = _outline(letters), 0.75
    under = ground[:h, :w] * opacity
    over = letters[:h, :w]
    covered = 1 - (1 - under) * (1 - over)
    light = under * (1 - over) * grey + over * ink
    keep = np.round((1 - covered) * 256).astype(np.uint16)[..., None]
    add = np.round(light * 256).astype(np.uint16)[..., None]
    top, left = _corner(place, width, height, w, h)
    return _Mark(
        slice(top, top + h), slice(left, left + w), keep, np.minimum(add, 65535 - 255 * keep)
    )


def _corner(place: Place, width: int, height: int, w: int, h: int) -> tuple[int, int]:
    margin = round(MARGIN * min(width, height))
    below = max(margin, round(CLEAR * width))
    top = margin if place.startswith("top") else height - below - h
    left = margin if place.endswith("left") else width - margin - w
    return min(max(0, top), height - h), min(max(0, left), width - w)


def _drawn(text: str, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coverage in [0, 1] of the rounded ground and of the letters, both (height, width)."""
    tall = height * _FINER
    font = ImageFont.load_default(tall * 0.70)
    stroke = max(1, round(tall * 0.022))
    x0, y0, x1, y1 = font.getbbox(text, stroke_width=stroke)
    wide = -(-round(x1 - x0 + tall * 0.72) // _FINER) * _FINER
    ground = Image.new("L", (wide, tall), 0)
    ImageDraw.Draw(ground).rounded_rectangle((0, 0, wide - 1, tall - 1), tall * 0.32, fill=255)
    letters = Image.new("L", (wide, tall), 0)
    at = ((wide - (x1 - x0)) / 2 - x0, (tall - (y1 - y0)) / 2 - y0)
    ImageDraw.Draw(letters).text(at, text, fill=255, font=font, stroke_width=stroke)
    return _averaged(ground), _averaged(letters)


def _averaged(fine: Image.Image) -> NDArray[np.float32]:
    pixels = np.asarray(fine, np.float32) / 255
    h, w = pixels.shape[0] // _FINER, pixels.shape[1] // _FINER
    blocks: NDArray[np.float32] = pixels.reshape(h, _FINER, w, _FINER).mean((1, 3), np.float32)
    return blocks


def _outline(letters: NDArray[np.float32]) -> NDArray[np.float32]:
    """The letters, one pixel wider on every side."""
    padded = np.pad(letters, 1)
    h, w = letters.shape
    shifted = [padded[y : y + h, x : x + w] for y in range(3) for x in range(3)]
    widest: NDArray[np.float32] = np.stack(shifted).max(0)
    return widest
