"""The registry: one installation's consent records and the data that belongs to them.

A record is written once and signed. Later it can be verified, completed, revoked and erased; each
of these adds an entry to the audit log in the same transaction. The registry answers questions; the
gate decides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from PIL import Image

from pipeline.consent.active_policy import ActivePolicy
from pipeline.consent.challenges import Challenges
from pipeline.consent.database import Database
from pipeline.consent.denylist import Denylist
from pipeline.consent.enrolments import Enrolments
from pipeline.consent.erasure import Erasure
from pipeline.consent.face_models import FaceModels, Points, load_face_models
from pipeline.consent.record_rows import COLUMNS, record_of
from pipeline.consent.record_writer import RecordWriter
from pipeline.consent.records import (
    Checks,
    ConsentRecord,
    Kind,
    Outcome,
    Scope,
    new_record,
    sha256_of,
)
from pipeline.consent.registry_config import RegistryOverrides, placed
from pipeline.consent.schema import consents
from pipeline.consent.steady_clock import SteadyClock
from pipeline.consent.unlock import Unlocked, remembered, settle, unlock
from pipeline.errors import (
    ConsentInvalid,
    ConsentMissing,
    ConsentRevoked,
    ConsentTampered,
    RegistryUnavailable,
)

log: Final = logging.getLogger(__name__)

__all__ = [
    "ConsentRecord",
    "Kind",
    "Registry",
    "Scope",
    "RegistryOverrides",
    "new_record",
    "sha256_of",
]


class Registry:
    """The consent records of one installation, safe to share between threads and processes.

    ``where`` is a SQLite file, made when it is not there, or a ``postgresql://`` URL. Raises
    ``RegistryUnavailable`` when it cannot be used.
    """

    def __init__(
        self,
        where: Path | str,
        clock: Callable[[], float] = time.time,
        setup: RegistryOverrides | None = None,
    ) -> None:
        self.setup = setup or RegistryOverrides()
        where = where if isinstance(where, str) and "://" in where else Path(where).expanduser()
        self.where, self.clock = where, SteadyClock(clock)
        self.database = Database(where)
        try:
            self._open()
        except BaseException:
            self.database.close()
            raise

    def _open(self) -> None:
        opened = unlock(self.database, self.clock, self.where, self.setup)
        self.vault, self.log, self.settings = opened.vault, opened.log, opened.settings
        common = (self.database, self.log, self.clock)
        self.policies = ActivePolicy(self.database, self.settings, self.setup.policy)
        self.challenges = Challenges(*common)
        self.denials = Denylist(*common, lambda: self.face_models)
        self.enrolments = Enrolments(self.database, self.vault, self.log, self.clock)
        self._writer = RecordWriter(
            self.database, self.vault, self.log, self.challenges, self.denials,
            lambda: self.face_models,
        )  # fmt: skip
        self._erasure = Erasure(self.database, self.vault, self.log, self.clock, self.enrolments)
        self.config = opened.config
        if fault := self.fault:
            log.error("consent registry %s may only be read: %s", self.database.shown, fault)
            return
        self._settle(opened)

    def _settle(self, opened: Unlocked) -> None:
        was_kept = self.log.ledger.keep()
        if was := self.database.migrated:
            self.log.record(
                "registry.migrated", actor="registry", records=len(self.all()), version=was
            )
        self.denials.adopt()
        self.denials.protect_public_figures()
        self.denials.vouch()
        self.config = settle(self.database, opened, self.where, self.setup)
        if was_kept:  # else this may be an old copy, to which files of today look like orphans
            self._erasure.sweep()

    @property
    def fault(self) -> str:
        """Why this registry may only be read and nothing is granted; "" if all is well."""
        return self.log.ledger.fault()

    @cached_property
    def face_models(self) -> FaceModels:
        """What this installation can see, loaded when first asked for. ``PolicyInvalid``."""
        if self.setup.face_models is not None:
            return self.setup.face_models
        return load_face_models(placed(self.config.face_model), placed(self.config.age_model))

    @property
    def path(self) -> Path:
        """The SQLite file; raises ``ConsentInvalid`` for a registry that is no file."""
        if isinstance(self.where, str):
            raise ConsentInvalid(f"consent registry {self.database.shown} is no file")
        return self.where

    def silent_s(self) -> float:
        """Seconds since the registry last answered; 0.0 while it does. Waits for nothing."""
        try:
            self.database.revision()
        except RegistryUnavailable:
            return time.monotonic() - self.database.answered_at()
        return 0.0

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

    def judged(self, consent_id: str) -> ConsentRecord:
        """The record, for the gate; raises ``ConsentTampered`` unless it is what the log tells.

        An older form of it, which was signed once, is another; one that was revoked stays so.
        """
        query = sa.select(*COLUMNS).where(consents.c.id == consent_id)
        with self.log.ledger.snapshot() as (connection, facts):
            row = connection.execute(query).first()
            record = None if row is None else record_of(row)
            was_revoked = consent_id in facts.revoked
            if record is not None:
                facts.check(record)
        if record is None:
            return self.get(consent_id)  # which says that there is none
        if was_revoked and record.revoked_at is None:
            raise ConsentTampered(
                f"consent {record.id} was revoked, as the audit log says; its row says otherwise"
            )
        return record

    def all(self) -> list[ConsentRecord]:
        """Every record that can be read, oldest first; of others the log speaks."""
        found = []
        for row in self._rows():
            try:
                found.append(record_of(row))
            except ConsentTampered as fault:
                log.error("%s", fault)
        return found

    def evidence(self, consent_id: str) -> bytes | None:
        """The evidence of a record, decrypted; None when there is none, or no longer."""
        self.get(consent_id)
        query = sa.select(consents.c.evidence_blob).where(consents.c.id == consent_id)
        with self.database.read() as connection:
            blob = connection.scalar(query)
        return None if blob is None else self.vault.get(blob)

    def _select(self, *conditions: sa.ColumnElement[bool]) -> list[ConsentRecord]:
        return [record_of(row) for row in self._rows(*conditions)]

    def _rows(self, *conditions: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        query = sa.select(*COLUMNS).where(*conditions)
        with self.database.read() as connection:
            return connection.execute(query.order_by(consents.c.created_at, consents.c.id)).all()

    # -- writing -----------------------------------------------------------------------------

    def add(
        self,
        record: ConsentRecord,
        *,
        picture: bytes | None = None,
        shown: Image.Image | None = None,
        evidence: bytes | None = None,
        points: Points | None = None,
        actor: str = "operator",
    ) -> ConsentRecord:
        """Signs and writes a record once; returns what the registry holds under its id.

        ``picture`` is the reference picture's file, from which the fingerprint is taken, and what
        the operator's models see; ``points`` of its face help them. ``shown`` is what it shows,
        where it comes from a stranger and was decoded apart. A record that is there already
        stays as it is, revoked or not. Raises ``ConsentInvalid``, ``ConsentMismatch``,
        ``ChallengeInvalid`` or ``EvidenceInvalid``.
        """
        if held := self._select(consents.c.id == record.id):
            return held[0]
        self._writer.add(record, picture, shown, evidence, points, actor)
        return self.get(record.id)

    def verify(
        self, consent_id: str, outcomes: Mapping[str, Outcome], by: str, *, actor: str = "operator"
    ) -> ConsentRecord:
        """Enters how checks of the evidence ended, and who made them; signs the record anew."""
        known = Checks().named()
        if unknown := sorted(set(outcomes) - set(known)):
            raise ConsentInvalid(f"there is no check {unknown[0]!r}, only {', '.join(known)}")
        record = self._alive(consent_id)
        self._writer.check_untouched(record)
        checks = Checks(**(record.checks.named() | dict(outcomes)))
        changed = replace(record, checks=checks, verified_by=by)
        self._writer.rewrite(record, changed, "consent.verified", actor)
        return self.get(record.id)

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
        """Adds to a record of an older release what this one asks for: picture, age, signature.

        Raises ``ConsentTampered`` for one that was signed and is so no longer.
        """
        record = self._alive(consent_id)
        self._writer.check_untouched(record)
        changed, face = self._writer.seen(record, picture, points)
        changed = replace(
            changed, adult=adult or record.adult, birth_year=birth_year or record.birth_year
        )
        self._writer.rewrite(record, changed, "consent.completed", actor, face)
        return self.get(record.id)

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
        return self._erasure.due(remembered(self.settings).retention_s, actor)

    def override(self, consent_id: str, reason: str, *, actor: str = "operator") -> None:
        """Lifts protections for a subject whose own consent was verified; audited.

        Raises ``OverrideRefused``.
        """
        self.denials.override(self._alive(consent_id), reason, actor=actor)

    def _alive(self, consent_id: str) -> ConsentRecord:
        record = self.get(consent_id)
        if record.revoked_at is not None:
            raise ConsentRevoked(f"consent {consent_id} was revoked: nothing can be added to it")
        return record
