"""The people in a picture: a face and a body that agree, and the hands that are shown."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import bodies, faces, hands
from pipeline.landmarkers.boxes import Detection
from pipeline.landmarkers.crops import Square, whole
from pipeline.landmarkers.people import Person

U8 = NDArray[np.uint8]

_PASSES: Final = 2  # looks at a face or body, each from where the last one saw it
_NOSE: Final = 0.6  # face boxes: how far a body's nose may be from the middle of its face
_SAME_FACE: Final = 0.5  # eyes: faces nearer to each other are one
# In face boxes: how far below a face the square lies in which its body is looked for, and its side.
_BELOW, _AROUND = 1.5, 7.0


def find_people(picture: U8) -> list[Person]:
    """Everybody in a picture (H, W, 3) of 8-bit RGB, the largest face first.

    A face counts only with a body that has its nose there: either detector alone sees people in
    leaves and wallpaper. Raises ``ModelDamaged`` if a network's file is.
    """
    detected = faces.detect_faces(picture)
    if not detected:
        return []
    found_bodies = _bodies(picture, whole(picture))
    palms = hands.detect_palms(picture)
    people: list[Person] = []
    for detection in detected:
        person = _person(picture, detection, found_bodies, palms)
        if person is not None and not any(_same(person, other) for other in people):
            people.append(person)
    return sorted(people, key=lambda person: -person.face.eyes)


def _person(
    picture: U8, detection: Detection, found: list[bodies.Seen], palms: list[Detection]
) -> Person | None:
    square = faces.square_of(detection)
    for _ in range(_PASSES):
        face = faces.look(picture, square, detection.score)
        square = faces.square_around(face.points)
    if face.score < faces.LEAST:
        return None
    seen = _body(picture, detection, found)
    if seen is None:
        return None
    both = hands.find_hands(picture, seen.body, palms)
    return Person(face, seen.body, both.get("left"), both.get("right"), seen.mask)


def _body(picture: U8, face: Detection, found: list[bodies.Seen]) -> bodies.Seen | None:
    """The body of a face: among those of the whole picture, or else from closer up."""
    best = _agreeing(face, found)
    if best is not None:
        return best
    x, y = face.middle.tolist()
    close = Square(x, y + _BELOW * face.side, _AROUND * face.side)
    return _agreeing(face, _bodies(picture, close))


def _bodies(picture: U8, square: Square) -> list[bodies.Seen]:
    """The bodies in a square of the picture, each looked at from where it was last seen."""
    out = []
    for detection in bodies.detect_bodies(picture, square):
        around = bodies.square_of(detection)
        for _ in range(_PASSES):
            seen = bodies.look(picture, around)
            around = seen.next_square
        if seen.body.score >= bodies.LEAST:
            out.append(seen)
    return out


def _agreeing(face: Detection, found: list[bodies.Seen]) -> bodies.Seen | None:
    """The body whose nose is nearest to the middle of a face, if it is near."""
    best, nearest = None, _NOSE * face.side
    for seen in found:
        gap = float(np.linalg.norm(seen.body.points[bodies.NOSE, :2] - face.middle))
        if gap < nearest:
            best, nearest = seen, gap
    return best


def _same(person: Person, other: Person) -> bool:
    gap = np.linalg.norm(person.face.points.mean(0)[:2] - other.face.points.mean(0)[:2])
    return bool(gap < _SAME_FACE * max(person.face.eyes, other.face.eyes))
