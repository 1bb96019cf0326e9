"""People from frame to frame: each is looked for where the last frame had them.

Detectors are asked only when somebody is lost, and for hands that are not seen now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.landmarkers import bodies, faces, hands
from pipeline.landmarkers.crops import Square
from pipeline.landmarkers.find import find_people
from pipeline.landmarkers.people import SIDES, Body, Hand, Person, Side

U8 = NDArray[np.uint8]

_AGAIN: Final = 5  # frames between looks for a hand that is not seen
_FAR: Final = 1.0  # faces: how far a body's nose may be from the middle of its face


@dataclass(slots=True)
class _Track:
    person: Person
    square: Square  # of the body in the next frame


class Tracker:
    """Consecutive frames of one size in, the people of each out. Not for several threads."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._frame = 0

    def reset(self) -> None:
        """Forgets everybody, as at a cut."""
        self._tracks, self._frame = [], 0

    def track(self, frame: U8) -> list[Person]:
        """The people of the next frame (H, W, 3) of 8-bit RGB, in a steady order.

        Raises ``ModelDamaged`` if a network's file is.
        """
        followed = [self._follow(frame, track) for track in self._tracks]
        self._tracks = [track for track in followed if track is not None]
        if not self._tracks or None in followed:
            self._tracks = [_Track(person, person.mask.square) for person in find_people(frame)]
        self._frame += 1
        return [track.person for track in self._tracks]

    def _follow(self, frame: U8, track: _Track) -> _Track | None:
        face = faces.look(frame, faces.square_around(track.person.face.points))
        if face.score < faces.LEAST:
            return None
        seen = bodies.look(frame, track.square)
        nose = np.linalg.norm((seen.body.points[bodies.NOSE] - face.points.mean(0))[:2])
        if seen.body.score < bodies.LEAST or nose > _FAR * faces.square_around(face.points).side:
            return None
        both = self._hands(frame, track.person, seen.body)
        person = Person(face, seen.body, both.get("left"), both.get("right"), seen.mask)
        return _Track(person, seen.next_square)

    def _hands(self, frame: U8, before: Person, body: Body) -> dict[Side, Hand]:
        """Hands that are where they were, and now and then a new look for the others."""
        out: dict[Side, Hand] = {}
        for side, old in before.hands.items():
            hand = hands.look(frame, hands.square_around(old.points), old.score)
            if hand.presence > hands.LEAST and hands.is_at_wrist(hand, body, side):
                out[side] = hand
        missing = [side for side in SIDES if side not in out]
        lost = any(side in before.hands for side in missing)
        if missing and (lost or self._frame % _AGAIN == 0):
            found = hands.find_hands(frame, body, [], missing)
            known = list(out.values())
            out |= {s: h for s, h in found.items() if not any(hands.same(h, k) for k in known)}
        return out
