"""The ways of speaking that a text prompt can name, as gains on everything the director moves.

A gain of 1 is an ordinary conversation. ``mix`` blends two styles; words for them are in
``prompts.py``. Nothing here moves anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from training.director.prompts import DEFAULT, paraphrase

prompt = paraphrase


@dataclass(frozen=True, slots=True)
class Style:
    """Gains of one way of speaking; ``name`` is a key of ``STYLES``, or two joined by ``+``."""

    name: str = DEFAULT
    gesture_rate: float = 1.0  # how readily a stressed syllable gets a stroke; 0 keeps hands still
    gesture_size: float = 1.0
    gesture_speed: float = 1.0
    two_handed: float = 0.5  # share of two-handed gestures
    smile: float = 0.10  # mouthSmile that is always there
    nod: float = 1.0
    sway: float = 1.0  # weight shifts, slow head and spine drift
    brow: float = 1.0
    frown: float = 0.0  # browDown that is always there
    contact: float = 0.78  # share of speaking time with the eyes on the viewer
    tilt: float = 1.0
    chin: float = 0.0  # radians of head pitch
    lean: float = 0.0  # radians of spine pitch, positive backwards
    blink_rate: float = 1.0
    lids: float = 0.0  # how far the lids hang
    articulation: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gesture_rate", "gesture_size", "nod", "sway", "brow", "articulation"):
            value = getattr(self, name)
            if not 0.0 <= value <= 3.0:
                raise ValueError(f"{name} must lie in [0, 3], got {value}")
        for name in ("two_handed", "smile", "frown", "contact"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")


_ALL: Final = (
    Style(),
    Style(
        "calm", 0.55, 0.70, 0.75, 0.40, 0.10, 0.55, 0.7, 0.6, 0.0, 0.82, 0.8, blink_rate=0.8,
        articulation=0.9,
    ),
    Style("friendly", 1.05, 1.0, 1.0, 0.5, 0.36, 1.1, 1.0, 1.15, 0.0, 0.86, 1.5, 0.01, -0.02),
    Style(
        "energetic", 1.9, 1.35, 1.35, 0.6, 0.20, 1.8, 1.5, 1.6, 0.0, 0.80, 1.2, 0.01, -0.04, 1.1,
        articulation=1.15,
    ),
    Style("formal", 0.6, 0.75, 0.9, 0.65, 0.04, 0.6, 0.45, 0.6, 0.0, 0.88, 0.3, 0.02, 0.02),
    Style("serious", 0.7, 0.85, 0.95, 0.4, 0.0, 0.9, 0.6, 0.8, 0.22, 0.84, 0.5, -0.03, -0.02, 0.85),
    Style("cheerful", 1.3, 1.15, 1.15, 0.5, 0.52, 1.4, 1.3, 1.6, 0.0, 0.82, 1.6, 0.02, 0.0, 1.1),
    Style(
        "shy", 0.35, 0.5, 0.85, 0.6, 0.12, 0.6, 0.8, 0.8, 0.0, 0.50, 1.4, -0.07, -0.03, 1.35,
        articulation=0.8,
    ),
    Style("hands_still", 0.0, 0.0, 1.0, 0.5, 0.10),
    Style(
        "expressive", 2.3, 1.45, 1.15, 0.6, 0.16, 1.3, 1.3, 1.4, 0.0, 0.78, 1.2, articulation=1.05
    ),
    Style("thoughtful", 0.7, 0.8, 0.75, 0.35, 0.04, 0.7, 0.9, 1.1, 0.10, 0.55, 1.5, 0.0, 0.01, 0.9),
    Style("confident", 1.15, 1.15, 1.0, 0.55, 0.14, 1.0, 0.7, 0.8, 0.0, 0.92, 0.5, 0.04, 0.02, 0.7),
    Style(
        "excited", 2.1, 1.5, 1.5, 0.65, 0.38, 1.9, 1.6, 2.0, 0.0, 0.78, 1.3, 0.02, -0.05, 1.2,
        articulation=1.2,
    ),
    Style(
        "tired", 0.4, 0.6, 0.65, 0.4, 0.0, 0.5, 0.6, 0.4, 0.05, 0.68, 1.0, -0.06, -0.03, 1.3, 0.16,
        articulation=0.75,
    ),
)  # fmt: skip

STYLES: Final[Mapping[str, Style]] = {style.name: style for style in _ALL}


def mix(first: Style, second: Style, share: float = 0.5) -> Style:
    """``share`` of ``second`` in ``first``; a style with still hands keeps them still."""
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    names = [field.name for field in fields(Style) if field.name != "name"]
    gains = {n: (1.0 - share) * getattr(first, n) + share * getattr(second, n) for n in names}
    if min(first.gesture_rate, second.gesture_rate) == 0.0:
        gains["gesture_rate"] = gains["gesture_size"] = 0.0
    return Style(name=f"{first.name}+{second.name}", **gains)
