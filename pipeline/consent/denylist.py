"""Protected people: names, pictures and faces that need verified consent.

Public figures are protected from the start (``public_figures.toml``); the operator adds others. The
similarity of a record's picture is computed when a record or a protection is written, and stored in
the audit log, so that the gate only reads it. A picture that copies another person's enrolled one
is found in the same way. An override lifts all of it for one record; every step is audited.
"""

from __future__ import annotations

import json
import secrets
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.face_models import FaceModels, Points
from pipeline.consent.facts import Likeness
from pipeline.consent.name_matching import readings
from pipeline.consent.protected_names import ProtectedNames
from pipeline.consent.protections import Protection, alive, proved
from pipeline.consent.record_rows import COLUMNS, record_of
from pipeline.consent.records import CHECKS, ConsentRecord, Kind, Outcome
from pipeline.consent.schema import consents, denials, overrides, state
from pipeline.consent.similarity import compare, fingerprint_of
from pipeline.errors import ConsentInvalid, ConsentMissing, ConsentTampered, OverrideRefused

_FIGURES: Final = Path(__file__).with_name("public_figures.toml")


@dataclass(frozen=True, slots=True)
class Denial:
    """One protected person. ``has_picture`` says whether pictures are recognised, too."""

    id: str
    name: str
    aliases: tuple[str, ...]
    reason: str
    has_picture: bool
    added_at: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What a picture was found to be like when the registry was at a revision."""

    revision: int
    found: tuple[Likeness, ...]


class Denylist:
    """The protections of one registry."""

    def __init__(
        self,
        database: Database,
        log: AuditLog,
        clock: Callable[[], float],
        face_models: Callable[[], FaceModels],
    ) -> None:
        self._database, self._log, self._clock, self._face_models = (
            database,
            log,
            clock,
            face_models,
        )
        self._names = ProtectedNames(database, log.ledger)

    # -- the list ----------------------------------------------------------------------------

    def all(self) -> list[Denial]:
        """Every protection in force, by name. Raises ``ConsentTampered``."""
        return [
            Denial(p.id, p.name, p.aliases, p.reason, bool(p.fingerprint), p.added_at)
            for p in proved(self._log.ledger)
        ]

    def add(
        self,
        name: str,
        *,
        aliases: Iterable[str] = (),
        reason: str = "",
        picture: bytes | None = None,
        points: Points | None = None,
        actor: str = "operator",
    ) -> Denial:
        """Protects a person by name, aliases and, when given, a picture. ``ConsentInvalid``."""
        if not readings(name):
            raise ConsentInvalid(f"a protection needs a name, got {name!r}")
        marks, face = self._seen(picture, points)
        added = Protection(
            f"d-{secrets.token_hex(6)}", name, tuple(aliases), reason, marks, face, self._clock()
        )
        revision = self._database.changes()
        alike = self._records_like(marks, face)
        with self._database.write() as connection:
            if self._database.changes(connection) != revision:  # records came in between
                alike = self._records_like(marks, face)
            connection.execute(denials.insert().values(added.row()))
            self._database.bump(connection)
            self._log.append(
                connection,
                "denial.added",
                actor=actor,
                id=added.id,
                name=name,
                reason=reason,
                rows={added.id: added.digest},
                alike=[(consent_id, added.id, *found) for consent_id, found in alike],
            )
        return Denial(added.id, name, added.aliases, reason, bool(marks), added.added_at)

    def remove(self, denial_id: str, *, reason: str = "", actor: str = "operator") -> None:
        """Protects this person no longer. Raises ``ConsentMissing``."""
        alive = (denials.c.id == denial_id) & denials.c.removed_at.is_(None)
        gone = {"removed_at": self._clock(), "fingerprint": None, "face": None}
        with self._database.write() as connection:
            if not connection.execute(denials.update().where(alive).values(gone)).rowcount:
                raise ConsentMissing(
                    f"no protection {denial_id!r}: `continuum deny list` shows all"
                )
            self._database.bump(connection)
            self._log.append(connection, "denial.removed", actor=actor, id=denial_id, reason=reason)

    def protect_public_figures(self) -> None:
        """Adds those that this release knows and the registry does not; once a release."""
        content = tomllib.loads(_FIGURES.read_text("utf-8"))
        version = int(content["version"])
        if self._figures() >= version:
            return
        with self._database.write() as connection:
            if self._figures(connection) >= version:
                return
            known = set(connection.scalars(sa.select(denials.c.id)))
            rows = [
                Protection(f"d-{key}", person["name"], tuple(person.get("aliases", ())),
                           "public figure", None, None, self._clock())
                for key, person in content["people"].items()
                if f"d-{key}" not in known
            ]  # fmt: skip
            if rows:
                connection.execute(denials.insert(), [row.row() for row in rows])
            seen = state.update().where(state.c.name == "figures")
            connection.execute(seen.values(value=str(version)))
            self._database.bump(connection)
            self._log.append(
                connection, "denial.seeded", actor="registry", version=version, people=len(rows),
                rows={row.id: row.digest for row in rows},
            )  # fmt: skip

    def vouch(self) -> None:
        """Enters the protections of an older release's registry into the log, once."""
        if self._log.ledger.follow().protected_told:
            return
        with self._database.write() as connection:
            if self._log.ledger.facts.protected_told:
                return
            rows = {row.id: row.digest for row in alive(connection)}
            self._log.append(connection, "denial.kept", actor="registry", rows=rows)

    # -- what the gate asks ------------------------------------------------------------------

    def named(self, *texts: str) -> str | None:
        """The protection whose name one of the texts is."""
        return self._names.named(texts)

    def alike(self, consent_id: str) -> list[Likeness]:
        """What a record's picture was found to be like, the closest first."""
        return self._log.ledger.follow().likenesses(consent_id)

    def overridden(self, consent_id: str) -> bool:
        """Whether protections are lifted for a record."""
        query = sa.select(overrides.c.consent_id).where(overrides.c.consent_id == consent_id)
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    # -- overrides ---------------------------------------------------------------------------

    def override(self, record: ConsentRecord, reason: str, *, actor: str) -> None:
        """Lifts protections for a record whose evidence was checked. ``OverrideRefused``."""
        done = record.checks.named()
        missing = [name for name in CHECKS if done[name] is not Outcome.PASSED]
        if record.kind is Kind.SYNTHETIC:
            raise OverrideRefused(
                f"consent {record.id} is of a synthetic person, who cannot agree to it"
            )
        if missing or not record.evidence_sha256 or not record.challenge:
            raise OverrideRefused(
                f"consent {record.id} is not verified ({', '.join(missing) or 'no evidence'}):"
                " only the protected person's own, checked consent lifts a protection"
            )
        if not reason.strip():
            raise OverrideRefused("an override needs a reason, for the audit log")
        row = {"consent_id": record.id, "reason": reason, "actor": actor}
        with self._database.write() as connection:
            connection.execute(overrides.delete().where(overrides.c.consent_id == record.id))
            connection.execute(overrides.insert().values(**row, granted_at=self._clock()))
            self._database.bump(connection)
            self._log.append(
                connection, "override.granted", actor=actor, consent_id=record.id, reason=reason
            )

    def withdraw(self, consent_id: str, *, actor: str = "operator") -> None:
        """Protections count for this record again. Raises ``ConsentMissing``."""
        own = overrides.c.consent_id == consent_id
        with self._database.write() as connection:
            if not connection.execute(overrides.delete().where(own)).rowcount:
                raise ConsentMissing(f"there is no override for consent {consent_id!r:.80}")
            self._database.bump(connection)
            self._log.append(connection, "override.withdrawn", actor=actor, consent_id=consent_id)

    # -- likeness ----------------------------------------------------------------------------

    def compared(self, record: ConsentRecord, face: bytes | None) -> Compared:
        """What a record's picture is like: protected pictures, and those of other people.

        Takes a while, so it is done before the transaction that writes the record.
        """
        revision = self._database.changes()
        return Compared(revision, tuple(self._likenesses(record, face)))

    def found(
        self,
        connection: sa.Connection,
        record: ConsentRecord,
        face: bytes | None,
        compared: Compared | None,
    ) -> list[tuple[str, str, float]]:
        """What was found, for the entry that tells of the record, within its transaction.

        Compares again when somebody else wrote in between: of two copies that come at the same
        moment, the second must find the first.
        """
        if compared is None:
            return []
        found: Iterable[Likeness] = compared.found
        if self._database.changes(connection) != compared.revision:
            found = self._likenesses(record, face)
        return [(each.other, each.how, each.score) for each in found]

    def adopt(self) -> None:
        """Enters what an older release kept in a table into the log."""
        own = state.c.name == "likenesses"
        with self._database.read() as connection:
            if connection.scalar(sa.select(state.c.value).where(own)) is None:
                return
        with self._database.write() as connection:
            text = connection.scalar(sa.select(state.c.value).where(own))
            if text is None:
                return
            connection.execute(state.delete().where(own))
            self._database.bump(connection)
            if alike := json.loads(text):
                self._log.append(connection, "likeness.kept", actor="registry", alike=alike)

    def _likenesses(self, record: ConsentRecord, face: bytes | None) -> Iterator[Likeness]:
        for other, marks, seen in self._others(record):
            alike = compare(self._face_models(), (record.fingerprint, face), (marks, seen))
            if alike is not None:
                yield Likeness(other, *alike)

    def _others(self, record: ConsentRecord) -> list[tuple[str, bytes | None, bytes | None]]:
        denied = proved(self._log.ledger)
        others = [(row.id, row.fingerprint, row.face) for row in denied]
        copies = self._log.ledger.facts.copies()
        for other, face in self._people():
            nobody = record.kind is other.kind is Kind.SYNTHETIC
            own = other.id == record.id or _same_subject(other.subject, record.subject)
            if not (nobody or own or other.id in copies):
                others.append((other.id, other.fingerprint, face))
        return others

    def _people(self) -> list[tuple[ConsentRecord, bytes | None]]:
        """Every record with its face, as the log tells of them. Raises ``ConsentTampered``: who
        is missing or was changed could not be recognised."""
        with self._log.ledger.snapshot() as (connection, facts):
            rows = connection.execute(sa.select(*COLUMNS, consents.c.face)).all()
            people = [(record_of(row[:-1]), row[-1]) for row in rows]
            if gone := facts.records.keys() - {record.id for record, _ in people}:
                raise ConsentTampered(
                    f"consent {min(gone)} is in the audit log and no longer in the registry: bring"
                    " it back from a backup, pictures cannot be compared without it"
                )
            for record, face in people:
                facts.check(record)
                facts.check_face(record, face)
        return people

    def _records_like(
        self, marks: bytes | None, face: bytes | None
    ) -> list[tuple[str, tuple[str, float]]]:
        if not marks:
            return []
        compared = (
            (record.id, compare(self._face_models(), (marks, face), (record.fingerprint, theirs)))
            for record, theirs in self._people()
        )
        return [(consent_id, found) for consent_id, found in compared if found is not None]

    def _seen(
        self, picture: bytes | None, points: Points | None
    ) -> tuple[bytes | None, bytes | None]:
        if picture is None:
            return None, None
        return fingerprint_of(picture), self._face_models().embedding(picture, points)

    def _figures(self, connection: sa.Connection | None = None) -> int:
        query = sa.select(state.c.value).where(state.c.name == "figures")
        if connection is not None:
            return int(connection.scalar(query) or 0)
        with self._database.read() as reading:
            return int(reading.scalar(query) or 0)


def _same_subject(one: str, other: str) -> bool:
    return one == other or bool(readings(one) & readings(other))
