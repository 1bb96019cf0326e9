"""Enrolled avatars: a picture and its landmarks under a name, bound to a consent record.

Files are stored encrypted in the vault and named by the database row. Both are created together,
and erased together with the consent. Whether an avatar may be used is decided by the gate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.records import sha256_of
from pipeline.consent.schema import avatars, consents
from pipeline.consent.vault import Vault
from pipeline.errors import AvatarNameInvalid, AvatarsFull, ConsentRevoked, UnknownAvatar

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TYPES: Final = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An avatar of this installation. ``enrolled_at`` is seconds since the epoch."""

    name: str
    title: str
    description: str
    consent_id: str
    image_sha256: str
    picture_type: str
    picture_blob: str
    landmarks_blob: str
    enrolled_at: float


class Enrolments:
    """The avatars that one registry's people have enrolled."""

    def __init__(
        self, database: Database, vault: Vault, log: AuditLog, clock: Callable[[], float]
    ) -> None:
        self._database, self._vault, self._log, self._clock = database, vault, log, clock

    def add(
        self,
        name: str,
        *,
        picture: bytes,
        landmarks: bytes,
        consent_id: str,
        title: str = "",
        description: str = "",
        taken: Iterable[str] = (),
        anew: bool = False,
        most: int | None = None,
        actor: str = "operator",
    ) -> Enrolled:
        """Keeps picture and landmarks (JSON) under a name; ask the gate before.

        ``taken`` are names that bundled avatars have. With ``anew`` the very picture may be
        enrolled under its name again, with other landmarks or another record. ``most`` is how many
        avatars there may be. Raises ``AvatarNameInvalid``, ``AvatarsFull`` or ``ConsentRevoked``.
        """
        self._check_name(name, taken, sha256_of(picture) if anew else None)
        kind = _type_of(picture)
        with self._vault.writing():
            blobs = [self._vault.put(picture), self._vault.put(landmarks)]
            avatar = Enrolled(
                name=name,
                title=title or name.title(),
                description=description,
                consent_id=consent_id,
                image_sha256=sha256_of(picture),
                picture_type=kind,
                picture_blob=blobs[0],
                landmarks_blob=blobs[1],
                enrolled_at=self._clock(),
            )
            try:
                left = self._insert(avatar, most, actor)
            except BaseException:
                for blob in blobs:
                    self._vault.delete(blob)
                raise
        for blob in left:
            self._vault.delete(blob)
        return avatar

    def all(self) -> list[Enrolled]:
        """Every enrolled avatar by name."""
        return self._select()

    def offered(self) -> list[Enrolled]:
        """Those whose consent was not revoked: what retention keeps is not for showing."""
        gone = sa.select(consents.c.id).where(consents.c.revoked_at.is_not(None))
        return self._select(avatars.c.consent_id.not_in(gone))

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[Enrolled]:
        query = sa.select(avatars).where(*conditions).order_by(avatars.c.name)
        with self._database.read() as connection:
            return [Enrolled(*row) for row in connection.execute(query)]

    def get(self, name: str) -> Enrolled:
        """Raises ``UnknownAvatar``."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(avatars).where(avatars.c.name == name)).first()
        if row is None:
            raise UnknownAvatar(
                f"no avatar is enrolled as {name!r}: `continuum avatar list` shows all"
            )
        return Enrolled(*row)

    def picture(self, avatar: Enrolled) -> bytes:
        """The reference picture's file. Raises ``EvidenceInvalid``."""
        return self._vault.get(avatar.picture_blob)

    def landmarks(self, avatar: Enrolled) -> bytes:
        """The landmarks' JSON. Raises ``EvidenceInvalid``."""
        return self._vault.get(avatar.landmarks_blob)

    def remove(self, name: str, *, actor: str = "operator") -> None:
        """Forgets an avatar and erases its files; the consent record stays. ``UnknownAvatar``."""
        avatar = self.get(name)
        with self._database.write() as connection:
            connection.execute(avatars.delete().where(avatars.c.name == name))
            self._log.append(
                connection,
                "avatar.removed",
                actor=actor,
                avatar=name,
                consent_id=avatar.consent_id,
            )
            self._database.bump(connection)
        for blob in (avatar.picture_blob, avatar.landmarks_blob):
            self._vault.delete(blob)

    def forget(self, connection: sa.Connection, consent_id: str) -> tuple[list[str], list[str]]:
        """Within an erasure: drops a consent's avatars; their blobs, and their names."""
        own = avatars.c.consent_id == consent_id
        rows = connection.execute(sa.select(avatars).where(own)).all()
        connection.execute(avatars.delete().where(own))
        blobs = [blob for row in rows for blob in (row.picture_blob, row.landmarks_blob)]
        return blobs, [row.name for row in rows]

    def _check_name(self, name: str, taken: Iterable[str], again: str | None) -> None:
        """``again`` is the hash of the picture that the name may have already."""
        if not _NAME.fullmatch(name):
            raise AvatarNameInvalid(
                f"an avatar's name is 1 to 40 of a-z, 0-9 and -, not {name!r:.80}"
            )
        held = (avatar for avatar in self.all() if avatar.name == name)
        if name in set(taken) or any(avatar.image_sha256 != again for avatar in held):
            raise AvatarNameInvalid(f"there is an avatar {name!r} already: choose another name")

    def _insert(self, avatar: Enrolled, most: int | None, actor: str) -> list[str]:
        """Writes the row, in place of one of the same picture; the blobs that this one left."""
        row = {column.name: getattr(avatar, column.name) for column in avatars.c}
        same = (avatars.c.name == avatar.name) & (avatars.c.image_sha256 == avatar.image_sha256)
        with self._database.write() as connection:
            _check_alive(connection, avatar.consent_id)
            before = connection.execute(sa.select(avatars).where(same)).all()
            connection.execute(avatars.delete().where(same))
            connection.execute(avatars.insert().values(row))
            _check_room(connection, most)
            self._log.append(
                connection,
                "avatar.enrolled",
                actor=actor,
                avatar=avatar.name,
                consent_id=avatar.consent_id,
                picture=avatar.image_sha256,
            )
            self._database.bump(connection)
        return [blob for row in before for blob in (row.picture_blob, row.landmarks_blob)]


def _check_alive(connection: sa.Connection, consent_id: str) -> None:
    """Raises if consent was revoked after the gate agreed: its erasure has already run."""
    gone = consents.c.revoked_at.is_not(None) & (consents.c.id == consent_id)
    if connection.scalar(sa.select(consents.c.id).where(gone)) is not None:
        raise ConsentRevoked(f"consent {consent_id} was revoked: this face may not be used")


def _check_room(connection: sa.Connection, most: int | None) -> None:
    """Within the transaction that enrols one: writers take their turns, so this is exact."""
    count = int(connection.scalar(sa.select(sa.func.count()).select_from(avatars)) or 0)
    if most is not None and count > most:
        raise AvatarsFull(
            f"{count - 1} avatars are enrolled, {most} may be: remove one"
            " (`continuum avatar remove`) or raise avatars_max"
        )


def _type_of(picture: bytes) -> str:
    for start, kind in _TYPES.items():
        if picture.startswith(start):
            return kind
    raise AvatarNameInvalid("the picture is no PNG, JPEG or WebP file")
