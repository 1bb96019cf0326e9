"""Protected people as rows of the registry, and what the signed log tells of them.

Whoever writes to the database can change and remove rows. A row counts as long as it is what the
log tells, and a protection of which the log tells must be there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pipeline.consent.ledger import Ledger
from pipeline.consent.schema import denials
from pipeline.errors import ConsentTampered

_ALIVE: Final = (
    sa.select(denials).where(denials.c.removed_at.is_(None)).order_by(denials.c.name, denials.c.id)
)


@dataclass(frozen=True, slots=True)
class Protection:
    """A row that is in force. ``fingerprint`` and ``face`` are of the person's picture, if any."""

    id: str
    name: str
    aliases: tuple[str, ...]
    reason: str
    fingerprint: bytes | None
    face: bytes | None
    added_at: float

    @property
    def digest(self) -> str:
        """What the log signs: a hash of who is protected and how they are recognised."""
        marks = [bytes(each).hex() if each else "" for each in (self.fingerprint, self.face)]
        said = json.dumps([self.id, self.name, *self.aliases, *marks])
        return hashlib.sha256(said.encode()).hexdigest()

    def row(self) -> dict[str, object]:
        """As a row of the table."""
        return {
            "id": self.id,
            "name": self.name,
            "aliases": "\n".join(self.aliases),
            "reason": self.reason,
            "fingerprint": self.fingerprint,
            "face": self.face,
            "added_at": self.added_at,
            "removed_at": None,
        }


def alive(connection: sa.Connection) -> list[Protection]:
    """Every protection in force, by name, as the table has it."""
    return [
        Protection(
            row.id, row.name, tuple(filter(None, row.aliases.split("\n"))), row.reason,
            row.fingerprint, row.face, row.added_at,
        )
        for row in connection.execute(_ALIVE)
    ]  # fmt: skip


def proved(ledger: Ledger) -> list[Protection]:
    """Every protection in force, by name. Raises ``ConsentTampered`` where table and log differ."""
    with ledger.snapshot() as (connection, facts):
        rows = alive(connection)
        check(facts.protections, rows)
    return rows


def check(told: Mapping[str, str], rows: Sequence[Protection]) -> None:
    """Raises ``ConsentTampered`` unless each protection that the log tells of is its row."""
    found = {row.id: row for row in rows}
    for denial_id, digest in told.items():
        row = found.get(denial_id)
        if row is None or row.digest != digest:
            what = "changed" if row else "removed"
            raise ConsentTampered(
                f"protection {denial_id} was {what} in the database, and not by this registry:"
                " bring it back from a backup, or remove it by `continuum deny remove` and add it"
                " anew"
            )
