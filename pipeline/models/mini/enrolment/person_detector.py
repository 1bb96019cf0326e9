"""Who is in a picture, and where: the named points of one person, found without help.

``find_person`` takes the person that stands out by size and place, if nobody else does, and names
the points that enrolment fits a body to (``face_points``). It says no with the reason when there is
nobody, more than one, a face too small, turned away or covered by a hand. A person may correct the
points by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from pipeline.errors import FaceCovered, FaceTooSmall, FaceTurned, PersonNotFound, SeveralPeople
from pipeline.landmarkers import SIDES, Person, Side, bodies, find_people, hands
from pipeline.models.mini.enrolment.face_points import face_points
from pipeline.models.mini.enrolment.landmark_fit import LEAST_EYES, REQUIRED

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MOST_TURN: Final = 0.7  # radians to either side that a face may be turned
_BESIDE: Final = 0.5  # how little somebody counts at the rim of the picture against its middle
_BYSTANDER: Final = 0.45  # of the one who stands out most: others count for less
_LEAST_PX: Final = 24.0  # between the eyes' outer corners: below, lips are one pixel
_COVERING: Final = 3  # points of a hand in the face's outline from which on it covers the face
_CLEARLY: Final = 0.9  # presence of a hand that may be held against somebody
# Of the width between the joints, outwards and upwards from each: the top of a shoulder.
_OUTWARD, _UPWARD = 0.07, 0.05
_OUTLINE: Final = np.array([  # of the mesh, once around the face
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One person. Points are px of the upright picture, all of them shown but the required."""

    points: dict[str, tuple[float, float]]
    eyes: float  # px between the outer corners of the eyes, were they seen from the front
    turn: tuple[float, float]  # radians that the face looks past the camera, to its left and up
    notes: tuple[str, ...]  # what will not work, for a person to read


def find_person(picture: U8) -> Found:
    """The one person of a picture (H, W, 3).

    Raises ``PersonNotFound``, ``SeveralPeople``, ``FaceTooSmall``, ``FaceTurned`` or
    ``FaceCovered``; their messages say what to do.
    """
    person = only_person(find_people(picture), picture.shape[1])
    _check(person, picture)
    points = _inside({**face_points(person.face), **body_points(person)}, picture)
    turn = (person.face.yaw, person.face.pitch)
    return Found(points, person.face.eyes, turn, notes_of(points))


def only_person(people: Sequence[Person], width: int) -> Person:
    """Whoever stands out by size and nearness to the middle of a picture so wide.

    Raises ``PersonNotFound`` or ``SeveralPeople``.
    """
    if not people:
        raise PersonNotFound(
            "no person was found whose face and shoulders can be seen: take a picture of one person"
            " who faces the camera, or write the landmarks yourself"
        )

    def counts(person: Person) -> float:
        aside = abs(float(person.face.points[:, 0].mean()) / width - 0.5)
        return person.face.eyes * (1 - 2 * _BESIDE * min(aside, 0.5))

    most = max(map(counts, people))
    left = [person for person in people if counts(person) > _BYSTANDER * most]
    if len(left) > 1:
        raise SeveralPeople(
            f"{len(left)} people were found: cut the picture so that one person is left"
        )
    return left[0]


def body_points(person: Person) -> dict[str, tuple[float, float]]:
    """Shoulders, and the elbow and wrist of each arm whose hand is seen."""
    at = person.body.points[:, :2]
    out: dict[str, F32] = {}
    for side in SIDES:
        own, other = (at[bodies.SHOULDERS[s]] for s in (side, _other(side)))
        out[f"shoulder_{side}"] = own + _OUTWARD * (own - other)
        out[f"shoulder_{side}"][1] -= _UPWARD * np.linalg.norm(own - other)
        if side in person.hands:
            out[f"elbow_{side}"] = at[bodies.ELBOWS[side]]
            out[f"wrist_{side}"] = person.hands[side].points[hands.WRIST, :2]
    return {name: (float(x), float(y)) for name, (x, y) in out.items()}


def _other(side: Side) -> Side:
    return "left" if side == "right" else "right"


def _check(person: Person, picture: U8) -> None:
    eyes, turn = person.face.eyes, person.face.yaw
    least = max(_LEAST_PX, 1.1 * LEAST_EYES * min(picture.shape[:2]))
    if eyes < least:
        raise FaceTooSmall(
            f"the face is too small: {eyes:.0f} px between the outer corners of the eyes, at least"
            f" {least:.0f} are needed: cut the picture closer, or use a larger one"
        )
    if abs(turn) > MOST_TURN:
        side = "left" if turn > 0 else "right"
        raise FaceTurned(
            f"the face is turned {abs(np.degrees(turn)):.0f} degrees to the person's {side}, at"
            f" most {np.degrees(MOST_TURN):.0f} can be animated: both eyes must be seen well"
        )
    outline = Delaunay(person.face.points[_OUTLINE, :2])
    for hand in person.hands.values():
        inside = (outline.find_simplex(hand.points[:, :2]) >= 0).sum()
        if hand.presence > _CLEARLY and inside >= _COVERING:
            raise FaceCovered(
                "a hand lies before the face, and what it covers cannot be animated: take a picture"
                " with the hands away from the face"
            )


def notes_of(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """What will not work with a picture that shows these points, for a person to read."""
    notes = []
    if not {"shoulder_left", "shoulder_right"} <= points.keys():
        notes.append("shoulders are not shown: the head moves alone")
    missing = [side for side in SIDES if f"wrist_{side}" not in points]
    if len(missing) == 1:
        notes.append(f"the {missing[0]} hand is cut off or hidden: its arm stays")
    elif missing:
        notes.append("both hands are cut off or hidden: arms stay")
    return tuple(notes)


def _inside(
    points: Mapping[str, tuple[float, float]], picture: U8
) -> dict[str, tuple[float, float]]:
    """Points moved at most to the rim; those that lie beyond it are dropped, unless required."""
    high, wide = picture.shape[:2]
    out = {}
    for name, (x, y) in points.items():
        inner = min(max(x, 0.0), wide - 1.0), min(max(y, 0.0), high - 1.0)
        if inner == (x, y) or name in REQUIRED:
            out[name] = inner
    return out
