"""The named points of a face, by the points of the face mesh that lie there.

Which ones was measured on the bundled people, whose true places are known: each is within 0.05 of
the distance between the outer corners of the eyes, those of jaw and temples within 0.09. Ears,
hairline and crown have no mesh point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from pipeline.landmarkers import Face

Weights = Mapping[int, float]  # of mesh points, summing to one

_MIDDLE: Final[Mapping[str, Weights]] = {
    "chin": {152: 1}, "chin_front": {199: 1}, "forehead": {10: 1},
    "lip_lower_inner": {14: 1}, "lip_lower_outer": {17: 1},
    "lip_upper_inner": {13: 1}, "lip_upper_outer": {0: 1},
    "nose_base": {164: 1}, "nose_bridge": {168: 1}, "nose_tip": {1: 1},
}  # fmt: skip
_SIDES: Final[Mapping[str, Mapping[tuple[int, int], float]]] = {  # (right, left) of the person
    "brow_inner": {(55, 285): 0.5, (107, 336): 0.5},
    "brow_mid": {(65, 295): 0.5, (66, 296): 0.5},
    "brow_outer": {(46, 276): 1},
    "cheek": {(123, 352): 1},
    "eye_inner": {(133, 362): 1},
    "eye_outer": {(33, 263): 0.5, (7, 249): 0.5},
    "forehead_side": {(103, 332): 2.3, (104, 333): -1.3},  # beyond the mesh
    "jaw_angle": {(136, 365): 1},
    "jaw_mid": {(150, 379): 1},
    "lid_lower": {(145, 374): 1},
    "lid_lower_inner": {(154, 381): 1},
    "lid_lower_outer": {(144, 373): 1},
    "lid_upper": {(158, 385): 0.5, (159, 386): 0.5},
    "lid_upper_inner": {(157, 384): 1},
    "lid_upper_outer": {(160, 387): 1},
    "mouth_corner": {(61, 291): 1},
    "nose_ala": {(129, 358): 1},
    "pupil": {(468, 473): 1},
    "temple": {(21, 251): 1},
    "tragus": {(137, 366): 1},
}


def _named() -> dict[str, Weights]:
    out = dict(_MIDDLE)
    for name, pairs in _SIDES.items():
        out[f"{name}_right"] = {right: share for (right, _), share in pairs.items()}
        out[f"{name}_left"] = {left: share for (_, left), share in pairs.items()}
    return out


NAMED: Final[Mapping[str, Weights]] = _named()


def face_points(face: Face) -> dict[str, tuple[float, float]]:
    """Px of the picture, by name; left and right are the person's own."""
    out = {}
    for name, weights in NAMED.items():
        x, y = np.array(list(weights.values())) @ face.points[list(weights), :2]
        out[name] = (float(x), float(y))
    return out
