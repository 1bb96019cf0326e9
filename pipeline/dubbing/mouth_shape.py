"""What the generator's mouth units do to the points of a face mesh.

The bundled body says how its skin moves; which of its vertices each mesh point lies on is found
once, on the picture of a bundled avatar, whose exact fit is known. Offsets are in eyes, see
``geometry``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.dubbing.geometry import LOWER_LIP, UPPER_LIP, upright
from pipeline.landmarkers import faces, mesh
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX, MOUTH, SLICES, neutral

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_MODEL: Final = "mira"  # any avatar with an exact fit: the mesh and the body meet on its face
_JAW, _CLOSE = MOUTH.index("jawOpen"), MOUTH.index("mouthClose")
_LOWERED: Final = 0.35  # of the chin's way: what goes down further with the jaw is the lower lip


@cache
def _model() -> tuple[F64, F64]:
    """Offsets (29, 468, 3) of each unit at one, and the model's own canonical face (468, 3)."""
    avatar = find_avatar(_MODEL)
    picture = np.asarray(Image.open(avatar.reference).convert("RGB"))
    fit = Fit.from_json(avatar.fit.read_text("utf-8"))
    found = faces.look(picture, faces.square_of(faces.detect_faces(picture)[0]))
    found = faces.look(picture, faces.square_around(found.points))
    person = Person(bundled_body(), fit.shape, fit.wear)
    vertex = _vertices(person, fit, picture.shape[1::-1], found.points[: mesh.MESH, :2])
    rest = person.pose(neutral())[vertex]
    eyes = float(np.linalg.norm(rest[mesh.LEFT_EYE_OUTER] - rest[mesh.RIGHT_EYE_OUTER]))
    moved = np.stack([_posed(person, unit)[vertex] - rest for unit in range(len(MOUTH))])
    moved[_CLOSE] -= moved[_JAW]  # a mouth closes over an open jaw only
    return moved * (1, -1, -1) / eyes, upright(found.points)


def _posed(person: Person, unit: int) -> F32:
    state = neutral()
    state[SLICES["mouth"]][unit] = 1
    if unit == _CLOSE:
        state[INDEX["jawOpen"]] = 1
    return person.pose(state)


def _vertices(person: Person, fit: Fit, size: tuple[int, int], points: F32) -> NDArray[np.intp]:
    """The body's vertex under each mesh point (468,): of upper and lower lip each the own one."""
    posed = person.pose(fit.state)
    ahead = person.normals(posed)[:, 2] > 0.1
    skin = np.zeros(len(posed), bool)
    skin[person.body.vertices_of("skin", "lips")] = True
    seen = np.flatnonzero(skin & ahead & (posed[:, 1] > posed[:, 1].max() - 0.35))
    places = fit.camera.project(posed, *size)[:, :2]
    down = _lowered(person)
    out = np.empty(len(points), np.intp)
    for k, point in enumerate(points):
        near = seen
        if k in UPPER_LIP:
            near = seen[~down[seen]]
        elif k in LOWER_LIP:
            near = seen[down[seen]]
        out[k] = near[np.square(places[near] - point).sum(1).argmin()]
    return out


def _lowered(person: Person) -> NDArray[np.bool_]:
    way = (person.pose(neutral()) - _posed(person, _JAW))[:, 1]
    chin = way[person.body.landmarks["chin_front"]]
    return np.asarray(way > _LOWERED * chin)


def offsets(mouth: NDArray[np.floating]) -> F64:
    """How the mesh (468, 3) moves from a relaxed, closed mouth to these units (29,)."""
    units = np.asarray(mouth, np.float64).copy()
    units[_CLOSE] = min(units[_CLOSE], max(units[_JAW], 0.0))
    return np.asarray(np.tensordot(units, _model()[0], 1))


@cache
def standard_face() -> F64:
    """A canonical face (468, 3), from which the mesh's triangles and shares are taken."""
    return _model()[1]
