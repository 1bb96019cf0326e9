"""All avatars that can be called: the bundled ones and those that the operator has enrolled.

Enrolled avatars come from the consent registry, where their pictures are stored encrypted. They
appear and disappear while the server runs, as they are added or removed over HTTP or by
``continuum avatar``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from pipeline.avatar_catalog import AvatarCatalog, GrantedAvatar
from pipeline.avatars import BundledAvatar, catalogue, find_avatar
from pipeline.consent import ConsentGrant, Scope
from pipeline.consent.enrolments import Enrolled, Enrolments
from pipeline.errors import ContinuumError
from pipeline.interface import Avatar, AvatarModel
from server.avatars.catalog import Card, Source
from server.avatars.pipeline_errors import translated

log = logging.getLogger(__name__)

TYPES: Final = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


class Bundled:
    """Avatars that ship with the model."""

    def __init__(self, pipeline: AvatarModel, catalog: AvatarCatalog) -> None:
        self._pipeline, self._catalog = pipeline, catalog
        self._told: set[str] = set()  # notices that are in the log

    def cards(self) -> list[Card]:
        """Every bundled avatar; a damaged one is left out, and the log says why."""
        cards = []
        for name, found in self._catalog.bundled().items():
            try:
                cards.append(_card(found))
            except ContinuumError as failure:
                log.error("avatar %s is left out: %s", name, failure)
        return cards

    def grant(self, avatar: str, session: str = "") -> ConsentGrant:
        """A live grant for a session. Raises what ``translated`` makes of a refusal."""
        with translated():
            return self._catalog.grant(
                find_avatar(avatar), Scope.LIVE, session=session, actor="server"
            )

    def enrol(
        self, avatar: str, grant: ConsentGrant, size: tuple[int, int] | None = None
    ) -> Avatar:
        """The avatar at a size, or at the model's default."""
        with translated():
            enrolled = GrantedAvatar(grant).prepare(self._pipeline, size)
        for notice in set(self._pipeline.notices) - self._told:
            self._told.add(notice)
            log.warning("%s", notice)
        return enrolled


@dataclass(frozen=True, slots=True)
class Stored:
    """Reads a picture from the vault when it is asked for: memory is not where people are kept."""

    enrolments: Enrolments
    avatar: Enrolled

    def __call__(self) -> bytes:
        """The file. Raises ``AvatarUnusable`` or ``RegistryDown``."""
        with translated():
            return self.enrolments.picture(self.avatar)


class AvatarSources:
    """A ``Source`` of bundled and enrolled avatars."""

    def __init__(self, bundled: Source, pipeline: AvatarModel, catalog: AvatarCatalog) -> None:
        self._bundled, self._pipeline, self._catalog = bundled, pipeline, catalog
        self._enrolments = catalog.enrolments
        self._own: dict[str, Enrolled] = {}
        self._sound: set[str] = set()  # pictures that could be read

    def cards(self) -> list[Card]:
        """Every avatar, the bundled ones first; one whose files are damaged is left out.

        So is one whose consent was revoked: what retention keeps of it is not for showing. Raises
        ``RegistryDown``; then everything stays as it was.
        """
        bundled = self._bundled.cards()
        with translated():
            offered = self._enrolments.offered()
        taken = {card.id for card in bundled}
        self._own = {a.name: a for a in offered if a.name not in taken and self._is_sound(a)}
        self._sound &= {avatar.picture_blob for avatar in offered}
        return [*bundled, *map(self._card, self._own.values())]

    def grant(self, avatar: str, session: str = "") -> ConsentGrant:
        """A live grant for a session. Raises what ``translated`` makes of a refusal."""
        own = self._own.get(avatar)
        if own is None:
            return self._bundled.grant(avatar, session)
        with translated():
            return self._catalog.grant(own, Scope.LIVE, session=session, actor="server")

    def enrol(
        self, avatar: str, grant: ConsentGrant, size: tuple[int, int] | None = None
    ) -> Avatar:
        """The avatar at a size, or at the model's default."""
        own = self._own.get(avatar)
        if own is None:
            return self._bundled.enrol(avatar, grant, size)
        with translated():
            return self._catalog.read(own, grant).prepare(self._pipeline, size)

    def _is_sound(self, avatar: Enrolled) -> bool:
        """Whether its picture can be read; looked at once."""
        if avatar.picture_blob not in self._sound:
            try:
                self._enrolments.picture(avatar)
            except ContinuumError as failure:
                log.error("avatar %s is left out: %s", avatar.name, failure)
                return False
            self._sound.add(avatar.picture_blob)
        return True

    def _card(self, avatar: Enrolled) -> Card:
        return Card(
            avatar.name,
            avatar.title,
            avatar.description,
            Stored(self._enrolments, avatar),
            avatar.picture_type,
            avatar.landmarks_blob,
        )


def presents(avatar: str) -> str:
    """``man`` or ``woman``, by a bundled avatar's card; empty where nobody has said."""
    found = catalogue().get(avatar)
    return str(found.card().get("presents", "")) if found else ""


def _card(found: BundledAvatar) -> Card:
    card = found.card()
    path = found.reference
    return Card(
        id=found.name,
        name=str(card.get("title", found.name.title())),
        description=str(card.get("description", "")),
        picture=path.read_bytes(),
        picture_type=TYPES[path.suffix],
        synthetic=True,  # the gate opens bundled avatars by synthetic records alone
    )
