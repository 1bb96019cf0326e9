"""How a consent record is written: what its picture shows, its signature, its entry in the log.

A row and its entry are one transaction. Who may write, and what is asked for, is the registry's to
say; this writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from PIL import Image

from pipeline.consent.audit import AuditLog
from pipeline.consent.challenges import Challenges
from pipeline.consent.database import Database
from pipeline.consent.denylist import Denylist
from pipeline.consent.face_models import FaceModels, Points
from pipeline.consent.record_rows import row_of
from pipeline.consent.records import ConsentRecord, sha256_of
from pipeline.consent.schema import consents
from pipeline.consent.similarity import fingerprint_of
from pipeline.consent.vault import Vault
from pipeline.errors import ConsentMismatch, ConsentRevoked, ConsentTampered

SIGNING = ("consent.recorded", "consent.verified", "consent.completed")  # entries of a signature


class RecordWriter:
    """Signs records and writes them, with files into the vault. ``face_models`` are the operator's,
    loaded when they are first asked for."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        log: AuditLog,
        challenges: Challenges,
        denials: Denylist,
        face_models: Callable[[], FaceModels],
    ) -> None:
        self._database, self._vault, self._log = database, vault, log
        self._challenges, self._denials, self._face_models = challenges, denials, face_models

    def add(
        self,
        record: ConsentRecord,
        picture: bytes | None,
        shown: Image.Image | None,
        evidence: bytes | None,
        points: Points | None,
        actor: str,
    ) -> None:
        """Writes a record that is not there yet. Raises as ``Registry.add``."""
        record = replace(record, revoked_at=None, erased_at=None)
        face: bytes | None = None
        if picture is not None:
            record, face = self.seen(record, picture, points, shown)
        like = self._denials.compared(record, face)
        with self._vault.writing():
            blob = None if evidence is None else self._vault.put(evidence)
            try:
                with self._database.write() as connection:
                    record = self._bound(connection, record, evidence)
                    alike = self._denials.found(connection, record, face, like)
                    self._insert(connection, record, blob, face)
                    self._tell(
                        connection, "consent.recorded", record, actor, alike=alike, **_hashed(face)
                    )
            except BaseException:
                if blob is not None:
                    self._vault.delete(blob)
                raise

    def rewrite(
        self,
        before: ConsentRecord,
        after: ConsentRecord,
        action: str,
        actor: str,
        face: bytes | None = None,
    ) -> None:
        """Signs ``after`` anew and writes it, if ``before`` is still what the row holds.

        Raises ``ConsentRevoked`` where it is not.
        """
        seen = face or not before.fingerprint
        like = self._denials.compared(after, face) if seen else None
        after = self._signed(after)
        row = row_of(after) | ({} if face is None else {"face": face})
        still = (
            (consents.c.id == after.id)
            & consents.c.revoked_at.is_(None)
            & (consents.c.signature == before.signature)
        )
        with self._database.write() as connection:
            if not connection.execute(consents.update().where(still).values(row)).rowcount:
                raise ConsentRevoked(
                    f"consent {after.id} was revoked or changed meanwhile: look at it again"
                )
            alike = self._denials.found(connection, after, face, like)
            self._database.bump(connection)
            self._tell(
                connection, action, after, actor, before=before.digest, alike=alike, **_hashed(face)
            )

    def seen(
        self,
        record: ConsentRecord,
        picture: bytes,
        points: Points | None,
        shown: Image.Image | None = None,
    ) -> tuple[ConsentRecord, bytes | None]:
        """The record with what its picture shows; raises ``ConsentMismatch``."""
        digest = sha256_of(picture)
        if digest != record.image_sha256:
            raise ConsentMismatch(
                f"the record is for picture {record.image_sha256[:12]}, this one is {digest[:12]}"
            )
        marks = fingerprint_of(shown or picture)
        face = self._face_models().embedding(shown or picture, points)
        years = self._face_models().years(shown or picture, points)
        return replace(record, fingerprint=marks, estimated_age=years), face

    def check_untouched(self, record: ConsentRecord) -> None:
        """Raises ``ConsentTampered``: nothing is signed anew that was changed in between.

        Only records of the first releases were never signed.
        """
        with self._database.read() as connection:
            signed = any(self._log.newest(connection, act, record.id) for act in SIGNING)
        if signed and not self._vault.vouches(record.canonical(), record.signature):
            raise ConsentTampered(f"consent {record.id} is not what the operator signed")

    def _bound(
        self, connection: sa.Connection, record: ConsentRecord, evidence: bytes | None
    ) -> ConsentRecord:
        """With the challenge used up, the evidence's hash, and the operator's signature."""
        if record.challenge:
            self._challenges.redeem(connection, record.challenge, record.subject, record.id)
        if evidence is not None:
            record = replace(
                record,
                evidence_sha256=sha256_of(evidence),
                captured_at=record.captured_at or record.created_at,
            )
        return self._signed(record)

    def _signed(self, record: ConsentRecord) -> ConsentRecord:
        return replace(record, signature=self._vault.sign(record.canonical()))

    def _insert(
        self, connection: sa.Connection, record: ConsentRecord, blob: str | None, face: bytes | None
    ) -> None:
        row = row_of(record) | {"evidence_blob": blob, "face": face}
        connection.execute(consents.insert().values(row))
        self._database.bump(connection)

    def _tell(
        self,
        connection: sa.Connection,
        action: str,
        record: ConsentRecord,
        actor: str,
        **more: Any,
    ) -> None:
        self._log.append(
            connection,
            action,
            actor=actor,
            consent_id=record.id,
            subject=record.subject,
            record=record.digest,
            picture=record.image_sha256,
            checks={name: str(outcome) for name, outcome in record.checks.named().items()},
            **more,
        )


def _hashed(face: bytes | None) -> dict[str, str]:
    return {} if face is None else {"face": sha256_of(face)}
