"""What may be done with a picture whose fit comes from landmarks: a face, and a little of the rest.

Such a fit explains a face well and hair, clothes and silhouettes badly. So the mesh covers the
face, softly at its rim; all the rest is the picture itself, warped by the sheet. A warp bears
small motion alone, and nobody knows what is behind an arm: heads turn as far as they can without
tearing, arms hardly stir. Thin plates move the surface onto the landmarks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from pipeline.interface import Landmarks
from pipeline.models.mini.enrolment.landmark_fit import thin_plate
from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES
from pipeline.models.mini.rig.state import INDEX, SLICES

F32 = NDArray[np.float32]

_FACE: Final = ("skin", "eyes", "mouth")
_RIM: Final = ("temple", "forehead_side", "jaw_angle", "jaw_mid")
_RIM_MIDDLE: Final = ("chin", "forehead")
_LOOSE: Final = ("shoulder", "elbow", "wrist", "neck", "crown", "hairline", "thumb", "index",
                 "middle", "ring", "little")  # fmt: skip
_SOFT: Final = 0.16  # of the distance between the eyes' outer corners: the rim's width
_INSET: Final = 0.04  # of that distance: what lies nearer to the rim is left to the sheet
_DEEP: Final = 0.18  # of it: further inside, what the picture hides is drawn: lids, inner lips
_REACH: Final = 0.5  # of that distance: how far beyond landmarks the thin plate acts
# Radians or metres from the picture's own pose that are never quite reached.
_MOST: Final = {"head_yaw": 0.16, "head_pitch": 0.12, "head_roll": 0.12, "spine_yaw": 0.05,
                "spine_pitch": 0.05, "spine_roll": 0.05, "root_x": 0.02, "root_y": 0.015,
                "root_z": 0.03, "clavicle_lift_left": 0.08, "clavicle_lift_right": 0.08,
                "clavicle_forward_left": 0.05, "clavicle_forward_right": 0.05}  # fmt: skip
_MOST_ARM: Final = 0.03


def _limits() -> tuple[NDArray[np.int64], F32]:
    limits = {INDEX[name]: most for name, most in _MOST.items()}
    for part in ("left_arm", "right_arm"):
        limits |= dict.fromkeys(range(SLICES[part].start, SLICES[part].stop), _MOST_ARM)
    return np.array(list(limits)), np.array(list(limits.values()), np.float32)


_LIMITED, _MOST_OF = _limits()


def restrained(state: F32, rest: F32) -> F32:
    """The state (STATE_DIM,) as near to the picture's own, ``rest``, as a warped picture bears.

    Small motion passes as it is; larger motion bends towards its limit and never passes it.
    """
    out = state.copy()
    away = (state[_LIMITED] - rest[_LIMITED]) / _MOST_OF
    out[_LIMITED] = rest[_LIMITED] + _MOST_OF * np.tanh(away)
    return out


def eyes_apart(person: Person, points: F32) -> float:
    """Px between the outer corners of the eyes; ``points`` (N, >= 2) are the body's vertices."""
    marks = person.body.landmarks
    step = points[marks["eye_outer_left"], :2] - points[marks["eye_outer_right"], :2]
    return float(np.hypot(step[0], step[1]))


def corrections(person: Person, points: F32, landmarks: Landmarks) -> F32:
    """Px (N, 2) that take projected vertices (N, >= 2) of the face onto their landmarks (px)."""
    names = [name for name in landmarks if not name.startswith(_LOOSE)]
    if len(names) < 3:
        return np.zeros((len(points), 2), np.float32)
    centres = points[[person.body.landmarks[name] for name in names], :2].astype(np.float64)
    goals = np.array([landmarks[name] for name in names], np.float64)
    reach = _REACH * eyes_apart(person, points)
    return thin_plate(centres, goals - centres, points[:, :2].astype(np.float64), reach)


def rigid(person: Person, surface: Surface, offset: F32) -> F32:
    """Corrections of rows (R, 2): eyeballs and the mouth's inside are moved, not bent."""
    out = offset[surface.vertex].copy()
    marks = person.body.landmarks
    lips = [marks[name] for name in ("mouth_corner_left", "mouth_corner_right", "lip_upper_inner")]
    out[surface.layer == LAYERS.index("mouth")] = offset[lips].mean(0)
    eyes = surface.layer == LAYERS.index("eyes")
    for side, sign in (("left", 1), ("right", -1)):
        mine = eyes & (person.rest[surface.vertex, 0] * sign > 0)
        out[mine] = offset[marks[f"pupil_{side}"]]
    return out


def cover(person: Person, surface: Surface, points: F32, sure: F32) -> F32:
    """How far (R,) each row is drawn from the mesh.

    ``points`` (N, >= 2) are the body's vertices, px in a picture; ``sure`` (R,) is how far the
    picture shows each row. What it hides near the face's rim, as under a chin, is not drawn.
    """
    unit = eyes_apart(person, points)
    marks = person.body.landmarks
    names = [f"{name}_{side}" for name in _RIM for side in ("left", "right")]
    rim = points[[marks[name] for name in (*names, *_RIM_MIDDLE)], :2]
    planes = ConvexHull(rim).equations  # (K, 3): negative inside
    place = points[surface.vertex]
    inside = -(place[:, :2] @ planes[:, :2].T + planes[:, 2]).max(1) / unit
    part = np.clip((inside - _INSET) / _SOFT, 0, 1)
    shown = np.maximum(sure, np.clip((inside - _DEEP) / _SOFT, 0, 1))
    on_face = np.isin(surface.layer, [LAYERS.index(name) for name in _FACE])
    head = _head_weight(person)[surface.vertex]
    out = np.where(on_face, head * shown * part * part * (3 - 2 * part), 0.0)
    return out.astype(np.float32)


def _head_weight(person: Person) -> F32:
    """How far (N,) each vertex follows the head or an eye."""
    bones = [BONES.index(name) for name in ("head", "eye.L", "eye.R")]
    weight = (person.body.weight * np.isin(person.body.bone, bones)).sum(1)
    return np.asarray(np.minimum(weight, 1), np.float32)
