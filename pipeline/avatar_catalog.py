"""Who exists, and under which grant: the bundled avatars and those enrolled in one registry.

A name belongs to the bundled avatar that has it, whatever else is enrolled. Rendering, servers and
the command line all ask here; whether an avatar may be used is the gate's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.avatars import AVATARS, BundledAvatar, catalogue, find_avatar
from pipeline.consent import ConsentGate, ConsentGrant, Scope
from pipeline.consent.enrolments import Enrolled
from pipeline.interface import Avatar, AvatarModel, Landmarks
from pipeline.media.image_file import Bounds, Picture, PictureFile, hashed
from pipeline.media.image_sandbox import load_picture

KnownAvatar = BundledAvatar | Enrolled


@dataclass(frozen=True, slots=True)
class GrantedAvatar:
    """A grant, and what a model needs besides it: nothing for a bundled avatar."""

    grant: ConsentGrant
    picture: Picture | None = None
    landmarks: Landmarks | None = None

    def prepare(self, model: AvatarModel, size: tuple[int, int] | None = None) -> Avatar:
        """The avatar, ready to be opened; ``size`` (width, height) is the model's by default."""
        if self.picture is None:
            return model.bundled(self.grant.avatar, self.grant, size=size)
        return model.enrol(self.picture, self.grant, landmarks=self.landmarks, size=size)


class AvatarCatalog:
    """The avatars of one registry beside the bundled ones of ``folder``.

    ``bounds`` are what decoding a stranger's picture may take; with None, pictures are decoded in
    this process.
    """

    def __init__(
        self, gate: ConsentGate, bounds: Bounds | None = None, folder: Path = AVATARS
    ) -> None:
        self.enrolments: Final = gate.registry.enrolments
        self._gate, self._bounds, self._folder = gate, bounds, folder

    def bundled(self) -> dict[str, BundledAvatar]:
        """Every bundled avatar by name."""
        return catalogue(self._folder)

    def enrolled(self) -> dict[str, Enrolled]:
        """Every enrolled avatar by name, also those of a revoked consent."""
        return {avatar.name: avatar for avatar in self.enrolments.all()}

    def find(self, name: str) -> KnownAvatar:
        """Raises ``UnknownAvatar``, which lists those there are."""
        enrolled = self.enrolled()
        if name in enrolled and name not in self.bundled():
            return enrolled[name]
        return find_avatar(name, self._folder, also=enrolled)

    def grant(
        self, avatar: KnownAvatar, scope: Scope, *, session: str = "", actor: str = "pipeline"
    ) -> ConsentGrant:
        """A fresh grant on the avatar's own record. Raises a ``ConsentError``."""
        if isinstance(avatar, BundledAvatar):
            return self._gate.grant_bundled(avatar, scope, session=session, actor=actor)
        return self._gate.grant(
            avatar=avatar.name,
            image_sha256=avatar.image_sha256,
            scope=scope,
            consent_id=avatar.consent_id,
            session=session,
            actor=actor,
        )

    def grant_picture(
        self,
        name: str,
        file: PictureFile,
        consent_id: str | None,
        scope: Scope,
        actor: str = "pipeline",
    ) -> ConsentGrant:
        """A grant to use a picture under a name, on the record named. Raises a ``ConsentError``."""
        return self._gate.grant(
            avatar=name,
            image_sha256=file.sha256,
            scope=scope,
            consent_id=consent_id,
            actor=actor,
        )

    def read(
        self, avatar: KnownAvatar, grant: ConsentGrant, landmarks: bool = True
    ) -> GrantedAvatar:
        """What a model needs to prepare it; an enrolled picture is decoded, its points checked.

        ``landmarks=False`` is for models that draw from the picture alone. Raises a
        ``PictureError`` or an ``AvatarError``.
        """
        if isinstance(avatar, BundledAvatar):
            return GrantedAvatar(grant)
        picture = load_picture(
            hashed(self.enrolments.picture(avatar), avatar.name, bounds=self._bounds)
        )
        if not landmarks:
            return GrantedAvatar(grant, picture)
        from pipeline.models.mini.enrolment.landmarks_file import parse_landmarks  # numba

        text, named = self.enrolments.landmarks(avatar), f"the landmarks of {avatar.name}"
        points = parse_landmarks(text, named, picture.width, picture.height)
        return GrantedAvatar(grant, picture, points)

    def add(
        self,
        grant: ConsentGrant,
        file: PictureFile,
        landmarks: bytes,
        *,
        title: str = "",
        description: str = "",
        anew: bool = False,
        most: int | None = None,
        actor: str = "operator",
    ) -> Enrolled:
        """Enrols a picture, with landmarks as JSON, under the name and the record of its grant.

        Raises as ``Enrolments.add``, and ``LandmarksInvalid`` where the points do not fit.
        """
        from pipeline.models.mini.enrolment.landmarks_file import read_landmarks  # numba

        read_landmarks(landmarks, file)
        return self.enrolments.add(
            grant.avatar,
            picture=file.data,
            landmarks=landmarks,
            consent_id=grant.consent_id,
            title=title,
            description=description,
            taken=self.bundled(),
            anew=anew,
            most=most,
            actor=actor,
        )
