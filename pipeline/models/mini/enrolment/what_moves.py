"""Which parts of a photograph move, and which do not and why: told to the person in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.models.mini.enrolment.person_parts import SIDES, PersonParts
from pipeline.models.mini.rig.fit import Fit

_UNSEEN: Final = "the picture does not show it well enough"


def what_moves(fit: Fit, parts: PersonParts | None, still: Mapping[str, str]) -> tuple[str, ...]:
    """One line on what moves, and one for each hand that does not; none for bundled people.

    ``still`` gives the reason for each side whose arm could be cut out and yet stays.
    """
    if fit.exact:
        return ()
    if parts is None:
        return ("moves: face, head", "body and hands stay: no person's outline was found")
    moving = [f"{side} hand" for side in SIDES if side in parts.arms and side not in still]
    lines = ["moves: " + ", ".join(["face", "head", "shoulders", *moving])]
    for side in SIDES:
        if side not in parts.arms:
            lines.append(f"{side} hand stays: {_UNSEEN}")
        elif side in still:
            lines.append(f"{side} hand stays: {still[side]}")
    return tuple(lines)
