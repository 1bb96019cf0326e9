"""Step one of enrolment: the person as the fit says, standing as in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PosedPerson:
    """A fitted person in the pose of the picture."""

    fit: Fit
    person: Person
    surface: Surface
    vertices: F32  # (N, 3) of the body
    normals: F32  # (N, 3)


@cache
def bundled_body() -> Body:
    """The body asset, read once."""
    return Body.load()


def pose_person(fit: Fit, body: Body) -> PosedPerson:
    """Shape, clothe and pose the body. Raises ``ValueError`` for a shape of another body."""
    if fit.shape.shape != (len(body.shape_names),):
        raise ValueError(
            f"the body has {len(body.shape_names)} shape numbers, got {len(fit.shape)}"
        )
    person = Person(body, fit.shape, fit.wear)
    vertices = person.pose(fit.state)
    return PosedPerson(fit, person, Surface.of(person), vertices, person.normals(vertices))
