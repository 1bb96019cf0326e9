"""The landmark sidecar: where the named points of a person lie in a picture, as a JSON file.

    {"width": 1024, "height": 1024, "points": {"nose_tip": [512.5, 430.0], ...}, "notes": [...]}

Pixels of the upright picture, x to the right, y down, (0, 0) at the upper left corner. This file
knows the format; what the points mean is known by ``pipeline.models.mini.enrolment.landmark_fit``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.errors import LandmarksInvalid, LandmarksMissing, OutputUnwritable
from pipeline.media.image_file import PictureFile
from pipeline.media.image_sandbox import load_picture
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED, check_landmarks
from pipeline.models.mini.rig.body import Body

SEE: Final = "docs/avatars.md says how"
MAX_BYTES: Final = 1024 * 1024

Points = dict[str, tuple[float, float]]


def sidecar_of(picture: Path) -> Path:
    """Where the landmarks of a picture are looked for: ``me.png`` -> ``me.landmarks.json``."""
    return picture.with_name(f"{picture.stem}.landmarks.json")


def load_landmarks(path: Path, width: int, height: int) -> Points:
    """The points of an upright picture of this size, each of them checked.

    Raises ``LandmarksMissing`` without the file or a required point, ``LandmarksInvalid``.
    """
    if not path.is_file():
        raise LandmarksMissing(
            f"no landmarks for the picture: find them with `python -m pipeline.enrol`, write {path}"
            f" or name a file with --landmarks, {SEE}"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LandmarksInvalid(f"{path} is larger than {MAX_BYTES} bytes: {SEE}")
        text = path.read_bytes()
    except OSError as error:
        raise LandmarksInvalid(f"{path} is not readable ({error}): {SEE}") from error
    return parse_landmarks(text, str(path), width, height)


def read_landmarks(text: bytes, file: PictureFile) -> Points:
    """The points that a sidecar's bytes name in a picture file; raises as ``load_landmarks``."""
    picture = load_picture(file)
    return parse_landmarks(text, "the sidecar", picture.width, picture.height)


def parse_landmarks(text: bytes, path: str, width: int, height: int) -> Points:
    """The points of a sidecar's bytes, which errors call ``path``; raises as above."""
    content = _parse(text, path)
    _check_picture(content, path, width, height)
    points = _points(content.get("points"), path)
    missing = [name for name in REQUIRED if name not in points]
    if missing:
        raise LandmarksMissing(f"{path} lacks the points {', '.join(missing)}: {SEE}")
    try:
        check_landmarks(points, Body.load().landmarks, width, height)
    except ValueError as error:
        raise LandmarksInvalid(f"{path}: {error}; {SEE}") from error
    return points


def write_landmarks(path: Path, content: Mapping[str, object]) -> None:
    """Writes a sidecar; raises ``OutputUnwritable``."""
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path} ({error.strerror})") from error


def _parse(text: bytes, path: str) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LandmarksInvalid(f"{path} is not readable JSON ({error}): {SEE}") from error
    if not isinstance(content, dict):
        raise LandmarksInvalid(f"{path} holds no JSON object: {SEE}")
    return content


def _check_picture(content: Mapping[str, Any], path: str, width: int, height: int) -> None:
    stated = (content.get("width"), content.get("height"))
    if stated != (width, height):
        raise LandmarksInvalid(
            f"{path} is for a picture of {stated[0]}x{stated[1]}, this one is {width}x{height}"
            f" when upright: {SEE}"
        )


def _points(points: object, path: str) -> Points:
    if not isinstance(points, dict):
        raise LandmarksInvalid(f'{path} has no "points": {SEE}')
    return {str(name): _position(name, at, path) for name, at in points.items()}


def _position(name: str, at: object, path: str) -> tuple[float, float]:
    if isinstance(at, list) and len(at) == 2 and all(_is_number(value) for value in at):
        return float(at[0]), float(at[1])
    raise LandmarksInvalid(f"{path}: point {name!r} must be [x, y], got {str(at)[:60]}: {SEE}")


def _is_number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value)
