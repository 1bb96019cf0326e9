"""What skin looks like where nobody saw it: hands, closed lids, the inside of lips.

Everything is said as a factor on the colour of the skin around, from where a vertex lies on the
body at rest: backs and palms of hands, knuckles, fingertips and nails, lids and the line of
lashes, lips that turn inwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES
from pipeline.models.mini.rig.state import FACE_UNITS, INDEX

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_PALM: Final = np.array((222.0, 172.0, 150.0))  # what palms of all people tend to
_PALM_SHARE: Final = 0.35
_KNUCKLE: Final = (0.97, 0.92, 0.91)
_KNUCKLE_SIZE: Final = 0.0060  # metres
_CREASE: Final = (0.94, 0.89, 0.88)
_CREASE_SIZE: Final = 0.0035
_TIP: Final = (1.02, 0.97, 0.97)
_NAIL: Final = (1.08, 1.01, 1.01)
_LID: Final = (0.97, 0.92, 0.91)
_LID_EVEN: Final = 0.75  # of the way from what was seen at an eye's rim to the skin around
_LASH: Final = (0.44, 0.37, 0.35)
_LASH_REACH: Final = 0.0017  # metres from the lashes within which a lid's edge is dark
_TOUCH: Final = 0.0016  # metres between lips that lie on each other
_PARTING: Final = [
    INDEX[n]
    for n in (
        "jawOpen",
        "mouthFunnel",
        "mouthUpperUpLeft",
        "mouthUpperUpRight",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
    )
]
_LIP_INSIDE: Final = (0.78, 0.60, 0.60)
_LIP_DEPTH: Final = (0.0035, 0.010)  # metres behind a lip's front: from where, to where


@dataclass(frozen=True, slots=True)
class Folds:
    """Rows that a picture shows folded away: lids of open eyes, lips where they touch."""

    rows: NDArray[np.int32]  # (K,)
    follow: F32  # (K, 3) how far each unfolds with the left lid, the right lid, the lips


def folds(person: Person, surface: Surface) -> Folds:
    """What a blink or an opening mouth stretches: there a picture shows lashes and a dark slit."""
    moved = np.stack([_moved(person, f"eyeBlink{side}") for side in ("Left", "Right")], 1)
    lids = np.clip((moved / moved.max(0) - 0.12) / 0.2, 0, 1)
    share = np.concatenate([lids, _slit(person)[:, None]], 1)[surface.vertex]
    rows = np.flatnonzero((share.max(1) > 0) & (surface.layer == LAYERS.index("skin")))
    return Folds(rows.astype(np.int32), share[rows].astype(np.float32))


def unfolded(state: F32) -> F32:
    """How far (3,) the lids are closed and the lips parted, 0..1."""
    parted = float(state[_PARTING].sum()) - float(state[INDEX["mouthClose"]])
    shut = state[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]]
    return np.clip(np.array([*shut, 3 * parted], np.float32), 0, 1)


def _slit(person: Person) -> F64:
    """How much (N,) of a vertex's skin lies where the closed lips touch."""
    lips = person.body.vertices_of("lips")
    drop = _moved(person, "jawOpen")[lips]
    low = drop > 0.5 * drop.max()
    out = np.zeros(person.body.vertex_count)
    for mine, others in ((low, ~low), (~low, low)):
        far, _ = cKDTree(person.rest[lips[others]]).query(person.rest[lips[mine]])
        out[lips[mine]] = np.clip(2 - far / _TOUCH, 0, 1)
    return out


def _moved(person: Person, unit: str) -> F64:
    """How far (N,) a face unit moves each vertex, metres."""
    units, row = person.body.units, FACE_UNITS.index(unit)
    part = slice(units.start[row], units.start[row + 1])
    out = np.zeros(person.body.vertex_count)
    out[units.index[part]] = np.linalg.norm(units.offset[part], axis=1)
    return out


def shaded(person: Person, surface: Surface, colours: F32, white: float) -> F32:
    """The colours (R, 3) of skin, spread from what was seen, with what belongs to each place.

    ``white`` is how bright a white thing is in the picture's light.
    """
    out = colours.astype(np.float64)
    normals = person.normals(person.rest)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        _hand(person, surface, normals, side, sign, white, out)
    rows = np.flatnonzero(surface.layer == LAYERS.index("skin"))
    vertex = surface.vertex[rows]
    lid = np.maximum(_moved(person, "eyeBlinkLeft"), _moved(person, "eyeBlinkRight"))
    lid = np.clip(lid / lid.max() / 0.3 - 0.4, 0, 1)[vertex]
    around = np.median(out[rows[_around_eyes(person, vertex) & (lid == 0)]], axis=0)
    out[rows] += (_LID_EVEN * lid)[:, None] * (around - out[rows])
    _tint(out, rows, _LID, lid)
    _tint(out, rows, _LASH, _lash_line(person)[vertex])
    lips = np.flatnonzero(surface.material == MATERIALS.index("lips"))
    _tint(out, lips, _LIP_INSIDE, _inside(person, surface.vertex[lips]))
    return out.astype(np.float32)


def _around_eyes(person: Person, vertex: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which vertices (K,) are brow bone and cheek: near an eye, but not at it."""
    marks = person.body.landmarks
    eyes = person.rest[[marks["pupil_left"], marks["pupil_right"]]]
    far, _ = cKDTree(eyes).query(person.rest[vertex])
    return np.asarray((far > 0.024) & (far < 0.042))


def _tint(out: F64, rows: NDArray[np.int64], factor: tuple[float, ...], amount: F64) -> None:
    out[rows] *= 1 + (np.array(factor) - 1) * amount[:, None]


def _lash_line(person: Person) -> F64:
    """How much (N,) of a vertex's skin is the root of lashes."""
    lash = person.rest[person.body.vertices_of("lash")]
    far, _ = cKDTree(lash).query(person.rest, distance_upper_bound=2 * _LASH_REACH)
    return np.asarray(np.clip(1.5 - far / _LASH_REACH, 0, 1))


def _inside(person: Person, vertex: NDArray[np.int32]) -> F64:
    """How far (K,) the lips' vertices lie behind the front of their own lip."""
    at = person.rest[vertex].astype(np.float64)
    seam = person.rest[person.body.landmarks["lip_upper_inner"], 1]
    key = np.stack([at[:, 0], 0.02 * (at[:, 1] > seam)], 1)
    _, near = cKDTree(key).query(key, k=min(24, len(key)))
    front = at[near, 2].max(1)
    start, end = _LIP_DEPTH
    return np.asarray(np.clip((front - at[:, 2] - start) / (end - start), 0, 1))


def _hand(
    person: Person, surface: Surface, normals: F32, side: str, sign: float, white: float, out: F64
) -> None:
    at = {name[:-2]: p for name, p in person.joints.items() if name.endswith(side)}
    bones = [i for i, b in enumerate(BONES) if b.endswith(side) and b[:5] in ("wrist", "finge")]
    name = "left_skin" if side == "L" else "right_skin"
    on_hand = (person.body.weight * np.isin(person.body.bone, bones)).sum(1)
    rows = np.flatnonzero((surface.layer == LAYERS.index(name)) & (on_hand[surface.vertex] > 0.02))
    vertex = surface.vertex[rows]
    place, normal = person.rest[vertex].astype(np.float64), normals[vertex]
    across, along = at["finger2-1"] - at["finger5-1"], at["finger3-1"] - at["wrist"]
    palm = sign * np.cross(along, across)
    palm /= np.linalg.norm(palm)
    inwards = normal @ palm
    palmar = np.clip(inwards / 0.5 + 0.3, 0, 1) * np.clip(on_hand[vertex] / 0.6, 0, 1)
    out[rows] += (_PALM_SHARE * palmar)[:, None] * (_PALM * white - out[rows])
    back, bend, tip = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for finger in range(1, 6):
        for joint in (1, 2, 3):
            far = np.linalg.norm(place - at[f"finger{finger}-{joint}"], axis=1)
            size = _KNUCKLE_SIZE * (1.25 if joint == 1 else 1.0)
            back = np.maximum(back, np.exp(-np.square(np.maximum(far - 0.004, 0) / size)))
            end = at[f"finger{finger}-{joint + 1}"] if joint < 3 else at[f"tip{finger}"]
            way = end - at[f"finger{finger}-{joint}"]
            off = (place - at[f"finger{finger}-{joint}"]) @ (way / np.linalg.norm(way))
            near = far < 0.016
            bend = np.maximum(bend, near * np.exp(-np.square(off / _CREASE_SIZE)))
        far = np.linalg.norm(place - at[f"tip{finger}"], axis=1)
        tip = np.maximum(tip, np.clip(1 - far / 0.016, 0, 1))
    _tint(out, rows, _KNUCKLE, back * np.clip(-inwards + 0.1, 0, 1))
    _tint(out, rows, _CREASE, bend * palmar)
    _tint(out, rows, _TIP, tip)
    nails = surface.material[rows] == MATERIALS.index("nail")
    _tint(out, rows, _NAIL, nails.astype(np.float64))
