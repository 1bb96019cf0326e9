"""The registry: one installation's consent records, with everything that is kept beside them.

A record is written once and signed; later it can be verified, completed, revoked and erased, and
each of these leaves an entry in the audit log, in the same transaction. The registry answers
questions and decides nothing: decisions are the gate's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.challenges import Challenges
from pipeline.consent.clock import SteadyClock
from pipeline.consent.database import Database
from pipeline.consent.denials import Denials
from pipeline.consent.enrolments import Enrolments
from pipeline.consent.likeness import fingerprint_of
from pipeline.consent.policy import Policy
from pipeline.consent.records import (
    Checks,
    ConsentRecord,
    Kind,
    Outcome,
    Scope,
    new_record,
    sha256_of,
)
from pipeline.consent.rows import COLUMNS, record_of, row_of
from pipeline.consent.schema import avatars, consents, state
from pipeline.consent.senses import Points, Senses
from pipeline.consent.vault import Vault
from pipeline.errors import ConsentInvalid, ConsentMismatch, ConsentMissing, ConsentRevoked

__all__ = ["ConsentRecord", "Kind", "Registry", "Scope", "Setup", "new_record", "sha256_of"]

VAULT: Final = Path("~/.local/share/continuum/vault")  # for registries that are no file


@dataclass(frozen=True, slots=True)
class Setup:
    """What an operator configures; the default works on a fresh machine.

    ``vault`` None is a folder beside the registry's file. ``retention_s`` is how long evidence,
    picture and anchor stay after a revocation.
    """

    vault: Path | None = None
    operator_key: Path | None = None
    evidence_key: Path | None = None
    policy: Policy = field(default_factory=Policy)
    senses: Senses = field(default_factory=Senses)
    retention_s: float = 0.0

    def __post_init__(self) -> None:
        if self.retention_s < 0:
            raise ConsentInvalid(f"retention is 0 s or more, not {self.retention_s}")


class Registry:
    """The consent records of one installation, safe to share between threads and processes.

    ``where`` is a SQLite file, made when it is not there, or a ``postgresql://`` URL. Raises
    ``RegistryUnavailable`` when it cannot be used.
    """

    def __init__(
        self,
        where: Path | str,
        clock: Callable[[], float] = time.time,
        setup: Setup | None = None,
    ) -> None:
        self.setup = setup or Setup()
        where = where if isinstance(where, str) and "://" in where else Path(where).expanduser()
        self.where, self.clock = where, SteadyClock(clock)
        self.database = Database(where)
        try:
            self.vault = Vault(
                self.setup.vault or _vault_of(where),
                self.setup.operator_key,
                self.setup.evidence_key,
            )
            self.log = AuditLog(self.database, self.vault, self.clock)
            self.challenges = Challenges(self.database, self.log, self.clock)
            self.denials = Denials(self.database, self.log, self.clock, self.setup.senses)
            self.enrolments = Enrolments(self.database, self.vault, self.log, self.clock)
            self._open()
        except BaseException:
            self.database.close()
            raise

    @property
    def path(self) -> Path:
        """The SQLite file; raises ``ConsentInvalid`` for a registry that is no file."""
        if isinstance(self.where, str):
            raise ConsentInvalid(f"consent registry {self.database.shown} is no file")
        return self.where

    def _open(self) -> None:
        with self.database.read() as connection:
            query = sa.select(state.c.value).where(state.c.name == "id")
            self.vault.keep_for(str(connection.scalar(query)))
        if self.database.migrated:
            self.log.record("registry.migrated", actor="registry", records=len(self.all()))
        self.denials.protect_public_figures()
        self._sweep()

    def close(self) -> None:
        """Closes it; a closed registry answers ``RegistryUnavailable``."""
        self.database.close()

    # -- reading -----------------------------------------------------------------------------

    def get(self, consent_id: str) -> ConsentRecord:
        """The record with this id; raises ``ConsentMissing``."""
        found = self._select(consents.c.id == consent_id)
        if not found:
            raise ConsentMissing(
                f"no consent record {consent_id!r:.100}: `continuum consent list` shows them"
            )
        return found[0]

    def all(self) -> list[ConsentRecord]:
        """Every record, oldest first."""
        return self._select()

    def for_image(self, image_sha256: str) -> list[ConsentRecord]:
        """The records of one exact picture, oldest first."""
        return self._select(consents.c.image_sha256 == image_sha256)

    def evidence(self, consent_id: str) -> bytes | None:
        """The evidence of a record, decrypted; None when there is none, or no longer."""
        self.get(consent_id)
        query = sa.select(consents.c.evidence_blob).where(consents.c.id == consent_id)
        with self.database.read() as connection:
            blob = connection.scalar(query)
        return None if blob is None else self.vault.get(blob)

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[ConsentRecord]:
        query = sa.select(*COLUMNS).where(*conditions)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(consents.c.created_at, consents.c.id)).all()
        return [record_of(row) for row in rows]

    # -- writing -----------------------------------------------------------------------------

    def add(
        self,
        record: ConsentRecord,
        *,
        picture: bytes | None = None,
        evidence: bytes | None = None,
        points: Points | None = None,
        actor: str = "operator",
    ) -> ConsentRecord:
        """Signs and writes a record once; returns what the registry holds under its id.

        ``picture`` is the reference picture's file, from which the fingerprint is taken, and what
        the operator's models see; ``points`` of its face help them. A record that is there already
        stays as it is, revoked or not. Raises ``ConsentInvalid``, ``ConsentMismatch``,
        ``ChallengeInvalid`` or ``EvidenceInvalid``.
        """
        if held := self._select(consents.c.id == record.id):
            return held[0]
        record = replace(record, revoked_at=None, erased_at=None)
        face: bytes | None = None
        if picture is not None:
            record, face = self._seen(record, picture, points)
        like = self.denials.likenesses(record, face)
        with self.vault.writing():
            blob = None if evidence is None else self.vault.put(evidence)
            try:
                with self.database.write() as connection:
                    record = self._bound(connection, record, evidence)
                    self._insert(connection, record, blob, face)
                    self.denials.note(connection, record, face, like)
                    self._tell(connection, "consent.recorded", record, actor)
            except BaseException:
                if blob is not None:
                    self.vault.delete(blob)
                raise
        return self.get(record.id)

    def verify(
        self, consent_id: str, outcomes: Mapping[str, Outcome], by: str, *, actor: str = "operator"
    ) -> ConsentRecord:
        """Enters how checks of the evidence ended, and who made them; signs the record anew."""
        known = Checks().named()
        if unknown := sorted(set(outcomes) - set(known)):
            raise ConsentInvalid(f"there is no check {unknown[0]!r}, only {', '.join(known)}")
        record = self._alive(consent_id)
        checks = Checks(**(record.checks.named() | dict(outcomes)))
        changed = replace(record, checks=checks, verified_by=by)
        return self._rewrite(record, changed, "consent.verified", actor)

    def complete(
        self,
        consent_id: str,
        *,
        picture: bytes,
        adult: bool = False,
        birth_year: int | None = None,
        points: Points | None = None,
        actor: str = "operator",
    ) -> ConsentRecord:
        """Adds to a record of an older release what this one asks for: picture, age, signature."""
        record = self._alive(consent_id)
        changed, face = self._seen(record, picture, points)
        changed = replace(
            changed, adult=adult or record.adult, birth_year=birth_year or record.birth_year
        )
        return self._rewrite(record, changed, "consent.completed", actor, face)

    def revoke(
        self, consent_id: str, *, actor: str = "operator", reason: str = ""
    ) -> ConsentRecord:
        """Withdraws consent from now on; revoking twice keeps the first time.

        Ends what runs within a second, wherever it runs, and erases what the retention allows.
        """
        where = (consents.c.id == consent_id) & consents.c.revoked_at.is_(None)
        with self.database.write() as connection:
            changed = consents.update().where(where).values(revoked_at=self.clock())
            if connection.execute(changed).rowcount:
                self.log.append(
                    connection, "consent.revoked", actor=actor, consent_id=consent_id, reason=reason
                )
                self.database.bump(connection)
        self.erase_due()
        return self.get(consent_id)

    def erase_due(self, *, actor: str = "retention") -> list[str]:
        """Erases evidence, picture and landmarks of consents revoked long enough ago; their ids."""
        due = consents.c.revoked_at <= self.clock() - self.setup.retention_s
        query = sa.select(consents.c.id).where(due, consents.c.erased_at.is_(None))
        with self.database.read() as connection:
            found = [str(name) for name in connection.scalars(query)]
        for consent_id in found:
            self._erase(consent_id, actor)
        return found

    def override(self, consent_id: str, reason: str, *, actor: str = "operator") -> None:
        """Lifts protections for a subject whose own consent was verified; audited.

        Raises ``OverrideRefused``.
        """
        self.denials.override(self._alive(consent_id), reason, actor=actor)

    # -- how a record is written -------------------------------------------------------------

    def _seen(
        self, record: ConsentRecord, picture: bytes, points: Points | None
    ) -> tuple[ConsentRecord, bytes | None]:
        """The record with what its picture shows; raises ``ConsentMismatch``."""
        digest = sha256_of(picture)
        if digest != record.image_sha256:
            raise ConsentMismatch(
                f"the record is for picture {record.image_sha256[:12]}, this one is {digest[:12]}"
            )
        marks = fingerprint_of(picture)
        senses = self.setup.senses
        face = senses.embedding(picture, points)
        years = senses.years(picture, points)
        return replace(record, fingerprint=marks, estimated_age=years), face

    def _bound(
        self, connection: sa.Connection, record: ConsentRecord, evidence: bytes | None
    ) -> ConsentRecord:
        """With the challenge used up, the evidence's hash, and the operator's signature."""
        if record.challenge:
            self.challenges.redeem(connection, record.challenge, record.subject, record.id)
        if evidence is not None:
            record = replace(
                record,
                evidence_sha256=sha256_of(evidence),
                captured_at=record.captured_at or record.created_at,
            )
        return self._signed(record)

    def _signed(self, record: ConsentRecord) -> ConsentRecord:
        return replace(record, signature=self.vault.sign(record.canonical()))

    def _insert(
        self, connection: sa.Connection, record: ConsentRecord, blob: str | None, face: bytes | None
    ) -> None:
        row = row_of(record) | {"evidence_blob": blob, "face": face}
        connection.execute(consents.insert().values(row))
        self.database.bump(connection)

    def _rewrite(
        self,
        before: ConsentRecord,
        after: ConsentRecord,
        action: str,
        actor: str,
        face: bytes | None = None,
    ) -> ConsentRecord:
        like = self.denials.likenesses(after, face) if face or not before.fingerprint else []
        after = self._signed(after)
        row = row_of(after) | ({} if face is None else {"face": face})
        still = (consents.c.id == after.id) & consents.c.revoked_at.is_(None)
        with self.database.write() as connection:
            if not connection.execute(consents.update().where(still).values(row)).rowcount:
                raise ConsentRevoked(f"consent {after.id} was revoked: nothing can be added to it")
            self.denials.note(connection, after, face, like)
            self.database.bump(connection)
            self._tell(connection, action, after, actor, before=before.digest)
        return self.get(after.id)

    def _tell(
        self,
        connection: sa.Connection,
        action: str,
        record: ConsentRecord,
        actor: str,
        **more: Any,
    ) -> None:
        self.log.append(
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

    def _alive(self, consent_id: str) -> ConsentRecord:
        record = self.get(consent_id)
        if record.revoked_at is not None:
            raise ConsentRevoked(f"consent {consent_id} was revoked: nothing can be added to it")
        return record

    # -- erasing -----------------------------------------------------------------------------

    def _erase(self, consent_id: str, actor: str) -> None:
        here = consents.c.id == consent_id
        query = sa.select(consents.c.evidence_blob).where(here, consents.c.erased_at.is_(None))
        with self.database.write() as connection:
            row = connection.execute(query.with_for_update()).first()
            if row is None:  # another process was faster
                return
            blobs, names = self.enrolments.forget(connection, consent_id)
            gone = {"erased_at": self.clock(), "evidence_blob": None, "face": None}
            connection.execute(consents.update().where(here).values(gone))
            self.database.bump(connection)
            self.log.append(
                connection, "consent.erased", actor=actor, consent_id=consent_id, avatars=names
            )
        for blob in filter(None, [*blobs, row.evidence_blob]):
            self.vault.delete(blob)

    def _sweep(self) -> None:
        """Removes files that no row names: what a killed process left behind."""
        with self.vault.alone() as alone:
            if not alone:
                return
            with self.database.read() as connection:
                known = _named(connection)
            for name in self.vault.names() - known:
                self.vault.delete(name)


def _named(connection: sa.Connection) -> set[str]:
    columns: Iterable[sa.ColumnElement[str]] = (
        consents.c.evidence_blob,
        avatars.c.picture_blob,
        avatars.c.landmarks_blob,
    )
    return {name for column in columns for name in connection.scalars(sa.select(column)) if name}


def _vault_of(where: Path | str) -> Path:
    return VAULT.expanduser() if isinstance(where, str) else where.with_suffix(".vault")
