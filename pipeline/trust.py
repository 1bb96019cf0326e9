"""Where the mesh may be drawn when a fit comes from landmarks: the face, and arms from outside.

Such a fit explains a face well and hair, clothes and silhouettes badly. So the mesh covers the
face, softly at its rim, and what comes into the frame from outside; all the rest is the
picture itself, warped by the sheet. Thin plates move the surface onto the landmarks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from pipeline.body import Person
from pipeline.fit import Landmarks
from pipeline.landmarks import thin_plate
from pipeline.skeleton import BONES
from pipeline.surface import LAYERS, Surface

F32 = NDArray[np.float32]
Frame = tuple[int, int]

_FACE: Final = ("skin", "eyes", "mouth")
_ARMS: Final = ("left_skin", "right_skin", "left_sleeve", "right_sleeve")
_RIM: Final = ("temple", "forehead_side", "jaw_angle", "jaw_mid")
_RIM_MIDDLE: Final = ("chin", "forehead")
_LOOSE: Final = ("shoulder", "elbow", "wrist", "neck", "crown", "hairline", "thumb", "index",
                 "middle", "ring", "little")  # fmt: skip
_SOFT: Final = 0.16  # of the distance between the eyes' outer corners: the rim's width
_INSET: Final = 0.04  # of that distance: what lies nearer to the rim is left to the sheet
_DEEP: Final = 0.18  # of it: further inside, what the picture hides is drawn: lids, inner lips
_REACH: Final = 0.5  # of that distance: how far beyond landmarks the thin plate acts


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


def cover(
    person: Person, surface: Surface, points: F32, sure: F32, landmarks: Landmarks, frame: Frame
) -> F32:
    """How far (R,) each row is drawn from the mesh.

    ``points`` (N, >= 2) are the body's vertices, px in a picture of ``frame`` (width, height);
    ``sure`` (R,) is how far the picture shows each row. What it hides near the face's rim, as
    under a chin, is not drawn.
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
    width, height = frame
    for side in ("left", "right"):
        arm = np.isin(surface.layer, [LAYERS.index(n) for n in _ARMS if n.startswith(side)])
        fitted = {f"wrist_{side}", f"elbow_{side}"} & set(landmarks)
        away = (place[:, 1] > height) | (place[:, 0] < 0) | (place[:, 0] > width)
        out[arm] = 1.0 if fitted else away[arm]
    return out.astype(np.float32)


def _head_weight(person: Person) -> F32:
    """How far (N,) each vertex follows the head or an eye."""
    bones = [BONES.index(name) for name in ("head", "eye.L", "eye.R")]
    weight = (person.body.weight * np.isin(person.body.bone, bones)).sum(1)
    return np.asarray(np.minimum(weight, 1), np.float32)
