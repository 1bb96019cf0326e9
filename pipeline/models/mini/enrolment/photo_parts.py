"""The layers of one's own picture: found by the landmark networks, taken apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.interface import Landmarks
from pipeline.landmarkers import Person, find_people
from pipeline.models.mini.enrolment.person_parts import PersonParts
from pipeline.models.mini.enrolment.take_apart import PersonPoints, take_apart

U8 = NDArray[np.uint8]


def photo_parts(picture: U8, landmarks: Landmarks, alpha: U8 | None = None) -> PersonParts | None:
    """The layers of the person with these landmarks in a picture (H, W, 3 or 4).

    ``alpha`` (H, W) is the person's outline, unless it is opaque everywhere. None where the
    networks see nobody, as in a painting.
    """
    picture = picture[..., :3]
    person = _nearest(find_people(picture), landmarks)
    if person is None:
        return None
    mask = person.mask.at(*picture.shape[:2])
    if alpha is not None and alpha.min() < 255:
        mask = np.asarray(alpha / np.float32(255), np.float32)
    return take_apart(picture, points_of(person, mask))


def points_of(person: Person, mask: NDArray[np.float32]) -> PersonPoints:
    """A found person as the layers are cut by."""
    return PersonPoints(
        body=person.body.points,
        mask=mask,
        hands={side: hand.points for side, hand in person.hands.items()},
    )


def _nearest(people: Sequence[Person], landmarks: Landmarks) -> Person | None:
    """The person whose nose the landmarks name, if one stands there."""
    nose = np.array(landmarks["nose_tip"])
    far = [float(np.linalg.norm(person.face.points[1, :2] - nose)) for person in people]
    near = [i for i, person in enumerate(people) if far[i] < person.face.eyes]
    return people[min(near, key=far.__getitem__)] if near else None
