"""Follows the audit log: each new entry is verified once, and its facts are read.

Before each decision and each write, the log must still contain what this process has seen and what
the vault keeps of it (``kept_head``). Otherwise ``AuditBroken`` is raised: nothing is granted and
nothing is written until an operator has looked into it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from pipeline.consent.chain import Break, Entry, signed, walked
from pipeline.consent.database import Database
from pipeline.consent.facts import Facts
from pipeline.consent.kept_head import Head, KeptHead
from pipeline.consent.schema import audit
from pipeline.consent.steady_clock import SteadyClock
from pipeline.consent.vault import Vault
from pipeline.errors import AuditBroken, RegistryUnavailable

log: Final = logging.getLogger(__name__)

PAGE: Final = 1000
_FROM: Final = (
    sa.select(audit).where(audit.c.seq >= sa.bindparam("last")).order_by(audit.c.seq).limit(PAGE)
)
_ADVICE: Final = (
    "it is an old copy, or the database was changed. It opens read-only; bring back"
    " registry and vault of one moment from a backup (docs/consent.md)"
)


class Ledger:
    """The facts of one registry's log, safe between threads."""

    def __init__(self, database: Database, vault: Vault, clock: SteadyClock, name: str) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self._lock = threading.Lock()
        self._compared: Head | None = None
        self.kept = KeptHead(vault.folder / "heads" / name, vault.vouches)
        self.facts = Facts()
        self.barred = ""  # why nothing may be written here, whatever the log says

    def follow(self) -> Facts:
        """The facts by now. Raises ``AuditBroken``."""
        kept = self.kept.read()  # before the database: what is kept is written after it
        with self._database.read() as connection:
            return self._follow(connection, kept)

    @contextmanager
    def snapshot(self) -> Iterator[tuple[sa.Connection, Facts]]:
        """A connection and the facts of one moment, so that rows can be held against them.

        Others wait meanwhile; nothing within may ask the ledger again.
        """
        kept = self.kept.read()
        with self._database.read() as connection, self._lock:
            yield connection, self._followed(connection, kept)

    def follow_within(self, connection: sa.Connection) -> Facts:
        """As ``follow``, within a write that has added nothing yet. Raises for a copy, too."""
        self.check_own()
        return self._follow(connection, self.kept.read())

    def check_own(self) -> None:
        """Raises ``AuditBroken`` for a copy of another registry, which may only be read."""
        if self.barred:
            raise AuditBroken(self.barred)

    def fault(self) -> str:
        """Why this registry may only be read; "" if it may be written."""
        try:
            self.check_own()
            self.follow()
        except AuditBroken as why:
            return str(why)
        return ""

    def keep(self) -> bool:
        """Keeps the head of a log that was begun before heads were; whether one was kept."""
        if self.kept.read() is not None:
            return True
        query = sa.select(audit).where(audit.c.seq == self.facts.seq)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is not None:
            self.kept.grow(Head.of(Entry(*row)))
        return False

    def take(self, entries: Iterable[Entry]) -> None:
        """What this process itself has added, once it is written; keeps the newest."""
        entries = list(entries)
        newest = Head.of(entries[-1])
        with self._lock:
            for entry in entries:
                if (entry.seq, entry.previous) == (self.facts.seq + 1, self.facts.hash):
                    self.facts.take(entry)
            if (self.facts.seq, self.facts.hash) == (newest.seq, newest.hash):
                self._compared = newest
        try:
            self.kept.grow(newest)
        except (AuditBroken, RegistryUnavailable) as failure:  # the act itself is written
            log.error("the audit log's head is not kept: %s", failure)

    def missing(self, count: int, kept: Head | None) -> str:
        """What a log that ends with entry ``count`` lacks; "" if nothing."""
        known = max(self.facts.seq, kept.seq if kept else 0)
        if count >= known:
            return ""
        return f"the audit log ends with entry {count}, it had {known}: {_ADVICE}"

    def _follow(self, connection: sa.Connection, kept: Head | None) -> Facts:
        with self._lock:
            return self._followed(connection, kept)

    def _followed(self, connection: sa.Connection, kept: Head | None) -> Facts:
        while self._page(connection) >= PAGE:
            pass
        if kept is not None and kept != self._compared:
            self._compare(connection, kept)
        self._clock.not_before(self.facts.at_ms / 1000)
        return self.facts

    def _page(self, connection: sa.Connection) -> int:
        """Takes a page of what is new, when all of it is proved; how many rows were looked at."""
        facts = self.facts
        found = [Entry(*row) for row in connection.execute(_FROM, {"last": facts.seq})]
        if facts.seq:
            if not found:
                raise AuditBroken(self.missing(_length(connection), None))
            if (found[0].seq, found[0].hash) != (facts.seq, facts.hash):
                raise AuditBroken(f"entry {facts.seq} of the audit log is another now: {_ADVICE}")
        before, new = (found[0], found[1:]) if facts.seq else (None, found)
        for checked in walked(new, None, before):
            if isinstance(checked, Break):
                raise AuditBroken(f"the audit log is broken at entry {checked.seq}: {checked.why}")
        if new and not self._vault.vouches(*signed(new[-1])):
            raise AuditBroken(
                f"the audit log is broken at entry {new[-1].seq}: the operator did not sign it"
            )
        for entry in new:
            facts.take(entry)
        return len(found)

    def _compare(self, connection: sa.Connection, kept: Head) -> None:
        if why := self.missing(self.facts.seq, kept):
            raise AuditBroken(why)
        query = sa.select(audit.c.hash).where(audit.c.seq == kept.seq)
        if connection.scalar(query) != kept.hash:
            raise AuditBroken(
                f"entry {kept.seq} of the audit log is not the one that the vault keeps: {_ADVICE}"
            )
        self._compared = kept


def _length(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(sa.func.max(audit.c.seq))) or 0)
