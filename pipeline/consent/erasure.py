"""Erasure: files of revoked consents after their retention time, and files without an owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.enrolments import Enrolments
from pipeline.consent.schema import avatars, consents
from pipeline.consent.vault import Vault


class Erasure:
    """Erases for one registry; records and the audit log stay."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        log: AuditLog,
        clock: Callable[[], float],
        enrolments: Enrolments,
    ) -> None:
        self._database, self._vault, self._log, self._clock = database, vault, log, clock
        self._enrolments = enrolments

    def due(self, retention_s: float, actor: str) -> list[str]:
        """Erases what consents left that were revoked so long ago; their ids."""
        due = consents.c.revoked_at <= self._clock() - retention_s
        query = sa.select(consents.c.id).where(due, consents.c.erased_at.is_(None))
        with self._database.read() as connection:
            found = [str(name) for name in connection.scalars(query)]
        for consent_id in found:
            self._erase(consent_id, actor)
        return found

    def sweep(self) -> None:
        """Removes files that no row names: what a killed process left behind."""
        with self._vault.alone() as alone:
            if not alone:
                return
            with self._database.read() as connection:
                known = named_files(connection)
            for name in self._vault.names() - known:
                self._vault.delete(name)

    def _erase(self, consent_id: str, actor: str) -> None:
        here = consents.c.id == consent_id
        query = sa.select(consents.c.evidence_blob).where(here, consents.c.erased_at.is_(None))
        with self._database.write() as connection:
            row = connection.execute(query.with_for_update()).first()
            if row is None:  # another process was faster
                return
            blobs, names = self._enrolments.forget(connection, consent_id)
            gone = {"erased_at": self._clock(), "evidence_blob": None, "face": None}
            connection.execute(consents.update().where(here).values(gone))
            self._database.bump(connection)
            self._log.append(
                connection, "consent.erased", actor=actor, consent_id=consent_id, avatars=names
            )
        for blob in filter(None, [*blobs, row.evidence_blob]):
            self._vault.delete(blob)


def named_files(connection: sa.Connection) -> set[str]:
    """Every blob that a row names."""
    columns: Iterable[sa.ColumnElement[str]] = (
        consents.c.evidence_blob,
        avatars.c.picture_blob,
        avatars.c.landmarks_blob,
    )
    return {name for column in columns for name in connection.scalars(sa.select(column)) if name}
