"""Signed settings: what the operator has set for all processes that open a registry.

There are two kinds, the policy and the registry's configuration (vault, keys, models). Settings
are only added; the newest of a kind is in force in every process (vault, keys and models from the
next opening on). Each one is signed, numbered and logged in the transaction that writes it. One
that was changed, or removed so that an older one would apply, is refused, and so is everything that
needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.schema import orders, state
from pipeline.consent.vault import Vault
from pipeline.errors import ConsentTampered

POLICY: Final = "policy"
CONFIG: Final = "premises"  # the word that registries and audit logs hold


@dataclass(frozen=True, slots=True)
class SignedSetting:
    """One setting. ``document`` is JSON, ``given_at`` seconds since the epoch."""

    kind: str
    number: int
    document: str
    given_at: float
    actor: str
    signature: bytes = b""

    def canonical(self, registry_id: str) -> bytes:
        """What is signed: the setting, for this registry alone."""
        content = (registry_id, self.kind, self.number, self.document, round(self.given_at * 1000))
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


class SignedSettings:
    """The settings of one registry, each of which was signed when it was given."""

    def __init__(
        self, database: Database, vault: Vault, log: AuditLog, clock: Callable[[], float]
    ) -> None:
        self._database, self._vault, self._log, self._clock = database, vault, log, clock
        with database.read() as connection:
            query = sa.select(state.c.value).where(state.c.name == "id")
            self._registry = str(connection.scalar(query))

    def in_force(self, kind: str) -> SignedSetting | None:
        """The newest setting of a kind; raises ``ConsentTampered`` unless it is what was given."""
        given = self._log.ledger.follow().orders.get(kind, 0)  # first: one given meanwhile counts
        with self._database.read() as connection:
            setting = newest(connection, kind)
        held = setting.number if setting else 0
        if held < given:
            raise ConsentTampered(
                f"{kind} number {given} is in the audit log, the registry holds number {held}:"
                " the database was changed"
            )
        if setting is not None and not self._vault.vouches(
            setting.canonical(self._registry), setting.signature
        ):
            raise ConsentTampered(f"{kind} number {held} is not what the operator signed")
        return setting

    def give(self, kind: str, document: str, *, actor: str, reason: str = "") -> SignedSetting:
        """Puts a setting in force; running sessions are judged by it within a second."""
        with self._database.write() as connection:
            self._database.bump(connection)
            before, told = newest(connection, kind), self._log.ledger.follow_within(connection)
            number = max(before.number if before else 0, told.orders.get(kind, 0)) + 1
            setting = SignedSetting(kind, number, document, self._clock(), actor)
            signature = self._vault.sign(setting.canonical(self._registry))
            setting = SignedSetting(kind, number, document, setting.given_at, actor, signature)
            row = {column.name: getattr(setting, column.name) for column in orders.c}
            connection.execute(orders.insert().values(row))
            self._log.append(
                connection,
                f"{kind}.set",
                actor=actor,
                number=number,
                reason=reason,
                **{kind: json.loads(document)},
            )
        return setting


def newest(connection: sa.Connection, kind: str) -> SignedSetting | None:
    """The newest setting of a kind as the table has it, not yet believed."""
    query = sa.select(orders).where(orders.c.kind == kind).order_by(orders.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    return SignedSetting(
        row.kind, row.number, row.document, row.given_at, row.actor, bytes(row.signature)
    )
