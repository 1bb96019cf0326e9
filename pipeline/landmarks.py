"""The landmark sidecar: where the named points of a person lie in a picture, as JSON.

    {"width": 1024, "height": 1024, "points": {"nose_tip": [512.5, 430.0], ...}}

Pixels of the upright picture, x to the right, y down, (0, 0) at the upper left corner; "left" is
the person's own left. ``docs/avatars.md`` shows every point. What the points mean is the
business of ``pipeline.anchor``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.errors import LandmarksInvalid, LandmarksMissing

DOCUMENT: Final = "docs/avatars.md"
REQUIRED: Final = (
    "eye_outer_left", "eye_inner_left", "eye_inner_right", "eye_outer_right",
    "nose_tip", "nose_base", "mouth_corner_left", "mouth_corner_right",
    "lip_upper_outer", "lip_lower_outer", "chin", "jaw_angle_left", "jaw_angle_right",
)  # fmt: skip
MAX_BYTES: Final = 1024 * 1024
_OUTSIDE: Final = 0.5  # of the picture: shoulders and hands may be cut off, not far away

Points = dict[str, tuple[float, float]]


def sidecar(picture: Path) -> Path:
    """Where the landmarks of a picture are looked for: ``me.png`` -> ``me.landmarks.json``."""
    return picture.with_name(f"{picture.stem}.landmarks.json")


def load_landmarks(path: Path, width: int, height: int, known: Collection[str]) -> Points:
    """The points of a picture of this size, all of them among the ``known`` names.

    Raises ``LandmarksMissing`` without the file or a required point, ``LandmarksInvalid``.
    """
    if not path.is_file():
        raise LandmarksMissing(
            f"no landmarks for the picture: write {path} or name a file with --landmarks"
            f" (format and points: {DOCUMENT})"
        )
    content = _parse(path)
    _check_picture(content, path, width, height)
    return check_landmarks(content.get("points"), width, height, known, str(path))


def check_landmarks(
    points: object, width: int, height: int, known: Collection[str], name: str = "landmarks"
) -> Points:
    """The same points, every one checked; ``name`` is what errors call them."""
    if not isinstance(points, Mapping):
        raise LandmarksInvalid(f'{name} has no "points" (format: {DOCUMENT})')
    unknown = sorted(set(map(str, points)) - set(known))
    if unknown:
        raise LandmarksInvalid(f"{name} names unknown points {unknown}: see {DOCUMENT}")
    missing = [point for point in REQUIRED if point not in points]
    if missing:
        raise LandmarksMissing(f"{name} lacks the points {missing}: see {DOCUMENT}")
    return {point: _position(point, at, width, height, name) for point, at in points.items()}


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LandmarksInvalid(f"{path} is larger than {MAX_BYTES} bytes: see {DOCUMENT}")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LandmarksInvalid(f"{path} is not readable JSON ({error}): see {DOCUMENT}") from error
    if not isinstance(content, dict):
        raise LandmarksInvalid(f"{path} holds no JSON object: see {DOCUMENT}")
    return content


def _check_picture(content: Mapping[str, Any], path: Path, width: int, height: int) -> None:
    stated = (content.get("width"), content.get("height"))
    if stated != (width, height):
        raise LandmarksInvalid(
            f"{path} is for a picture of {stated[0]}x{stated[1]}, this one is {width}x{height}"
            f" after it was turned upright: see {DOCUMENT}"
        )


def _position(point: str, at: object, width: int, height: int, name: str) -> tuple[float, float]:
    numbers = at if isinstance(at, (list, tuple)) and len(at) == 2 else ()
    if not numbers or not all(_is_number(value) for value in numbers):
        raise LandmarksInvalid(f"{name}: point {point!r} must be two numbers [x, y], got {at!r}")
    x, y = float(numbers[0]), float(numbers[1])
    for value, side in ((x, width), (y, height)):
        if not -_OUTSIDE * side <= value <= (1 + _OUTSIDE) * side:
            raise LandmarksInvalid(
                f"{name}: point {point!r} at ({x:g}, {y:g}) is far outside {width}x{height}"
            )
    return x, y


def _is_number(value: object) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value)  # type: ignore[arg-type]
