"""Which parts of a photograph move, and which do not and why: told to the person in plain words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from pipeline.landmarkers import SIDES
from pipeline.models.mini.rig.fit import Fit

_UNSEEN: Final = "the picture does not show it well enough"


def what_moves(
    fit: Fit, cut_out: Collection[str] | None, still: Mapping[str, str]
) -> tuple[str, ...]:
    """One line on what moves, and one for each hand that does not; none for bundled people.

    ``cut_out`` are the sides whose arm is a layer, None where there are no layers; ``still`` gives
    the reason for each of them that stays.
    """
    if fit.exact:
        return ()
    if cut_out is None:
        return ("moves: face, head", "body and hands stay: no person's outline was found")
    moving = [f"{side} hand" for side in SIDES if side in cut_out and side not in still]
    lines = ["moves: " + ", ".join(["face", "head", "shoulders", *moving])]
    for side in SIDES:
        if side not in cut_out:
            lines.append(f"{side} hand stays: {_UNSEEN}")
        elif side in still:
            lines.append(f"{side} hand stays: {still[side]}")
    return tuple(lines)
