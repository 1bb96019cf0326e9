"""May this person be dubbed: a grant of scope ``dubbing``, and the face of its picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import BundledAvatar, catalogue
from pipeline.consent import ConsentGate, ConsentGrant, Registry, Scope
from pipeline.consent.face_models import FaceModels, Points
from pipeline.dubbing import identity
from pipeline.dubbing.survey import Someone
from pipeline.errors import ConsentMissing, PersonNotFound
from pipeline.landmarkers.people import F32
from pipeline.media.image_file import PictureFile, hash_picture, hashed
from pipeline.media.image_sandbox import load_picture
from pipeline.models.mini.enrolment.face_points import NAMED

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much two faces are alike, and whether that makes them one person."""

    value: float
    same: bool
    certain: bool  # a face model said so


@dataclass(frozen=True, slots=True, eq=False)
class Permission:
    """The grant, and the face that it is for."""

    grant: ConsentGrant
    picture: U8
    points: F32  # (478, 3)

    def likeness(self, someone: Someone, senses: FaceModels) -> Likeness:
        """By the operator's face model where there is one, else by ``identity``."""
        if senses.face is not None and someone.portrait is not None:
            shown = Image.fromarray(someone.portrait.picture)
            one = senses.embedding(Image.fromarray(self.picture), named(self.points))
            other = senses.embedding(shown, named(someone.portrait.points))
            cosine = senses.same_face(one, other)
            return Likeness(cosine or 0.0, cosine is not None, True)
        own = identity.look_of(self.picture, self.points)
        best = max((identity.likeness(look, own) for look in someone.looks), default=-1.0)
        return Likeness(best, best >= identity.SAME, False)


def named(points: F32) -> Points:
    """A mesh's named points, px."""
    found = {}
    for name, weights in NAMED.items():
        x, y = np.array(list(weights.values())) @ points[list(weights), :2]
        found[name] = (float(x), float(y))
    return found


def permitted(registry: Registry, consent_id: str, image: Path | None) -> Permission:
    """Asks the gate. Raises a ``ConsentError``, or a ``PictureError`` for the picture."""
    gate = ConsentGate(registry)
    bundled = _bundled(consent_id)
    if bundled is not None:
        grant = gate.grant_bundled(bundled, Scope.DUBBING, actor="dub")
        file = hash_picture(bundled.reference)
    else:
        name, file = _picture(registry, consent_id, image)
        grant = gate.grant(
            avatar=name, image_sha256=file.sha256, scope=Scope.DUBBING, consent_id=consent_id,
            actor="dub",
        )  # fmt: skip
    picture = load_picture(file).pixels
    points = identity.find(picture)
    if points is None:
        raise PersonNotFound(f"the picture of consent {consent_id} shows no face to compare with")
    return Permission(grant, picture, points)


def _bundled(consent_id: str) -> BundledAvatar | None:
    known = (avatar for avatar in catalogue().values() if avatar.consent().id == consent_id)
    return next(known, None)


def _picture(registry: Registry, consent_id: str, image: Path | None) -> tuple[str, PictureFile]:
    """The name and picture of a record: the file named, or what was enrolled with it."""
    if image is not None:
        return registry.get(consent_id).subject, hash_picture(image)
    for avatar in registry.enrolments.all():
        if avatar.consent_id == consent_id:
            return avatar.name, hashed(registry.enrolments.picture(avatar), avatar.name)
    registry.get(consent_id)
    raise ConsentMissing(
        f"the registry does not keep the picture of consent {consent_id}: name it with --image"
    )
