"""The audit log: every consent, enrolment, grant, refusal, override, revocation and admin act.

An entry is appended in the transaction of its act, so that a crash leaves neither one without the
other. Entries form a hash chain (``chain``), which shows changed, removed and moved entries. A log
whose end was cut off is detected by the head that the vault keeps (``ledger``), or by one that is
stored elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from pipeline.consent.chain import START, Break, Entry, signed, walked
from pipeline.consent.database import Database
from pipeline.consent.ledger import PAGE, Ledger
from pipeline.consent.schema import audit, state
from pipeline.consent.steady_clock import SteadyClock
from pipeline.consent.vault import Vault
from pipeline.errors import AuditBroken

_APPEND: Final = audit.insert()
_OWN: Final = state.c.name == "audit"
_HEAD: Final = sa.select(state.c.value).where(_OWN)
_SET_HEAD: Final = state.update().where(_OWN).values(value=sa.bindparam("head"))
_FIRST: Final = 3


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; empty fields ask nothing. Times are seconds since the epoch."""

    action: str = ""  # "consent" finds consent.recorded as well
    actor: str = ""
    consent_id: str = ""
    avatar: str = ""
    session: str = ""
    since: float | None = None
    until: float | None = None
    after: int = 0  # entries with a greater number

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """As SQL."""
        for name in ("actor", "consent_id", "avatar", "session"):
            if value := getattr(self, name):
                yield audit.c[name] == value
        if self.action:
            family = audit.c.action.startswith(self.action + ".", autoescape=True)
            yield sa.or_(audit.c.action == self.action, family)
        if self.since is not None:
            yield audit.c.at_ms >= round(self.since * 1000)
        if self.until is not None:
            yield audit.c.at_ms < round(self.until * 1000)
        if self.after:
            yield audit.c.seq > self.after


class AuditLog:
    """The log of one registry."""

    def __init__(self, database: Database, vault: Vault, clock: SteadyClock, name: str) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self.ledger = Ledger(database, vault, clock, name)

    def append(
        self,
        connection: sa.Connection,
        action: str,
        *,
        actor: str,
        consent_id: str = "",
        avatar: str = "",
        session: str = "",
        **detail: Any,
    ) -> Entry:
        """Adds an entry within the transaction of its act. Raises ``AuditBroken``."""
        added = self._database.added(connection)
        if not added:
            self._database.after(connection, partial(self.ledger.take, added))
            facts = self.ledger.follow_within(connection)
        seq, previous = (added[-1].seq, added[-1].hash) if added else (facts.seq, facts.hash)
        text = json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        entry = Entry(
            seq + 1,
            round(self._clock() * 1000),
            _storable(actor),
            _storable(action),
            _storable(consent_id),
            _storable(avatar),
            _storable(session),
            _storable(text),
            previous,
        )
        digest = entry.reckoned()
        signature = self._vault.sign(bytes.fromhex(digest)).hex()
        row = asdict(entry) | {"hash": digest, "signature": signature}
        connection.execute(_APPEND, row)
        connection.execute(_SET_HEAD, {"head": f"{entry.seq}:{digest}"})
        written = Entry(**row)
        added.append(written)
        return written

    def record(self, action: str, *, actor: str, durable: bool = True, **about: Any) -> Entry:
        """Adds an entry of an act that changes nothing in the registry itself."""
        with self._database.write(durable=durable) as connection:
            return self.append(connection, action, actor=actor, **about)

    def entries(self, wanted: Filter | None = None, limit: int | None = None) -> Iterator[Entry]:
        """Entries in order, read in pages; ``limit`` keeps the newest."""
        conditions = list((wanted or Filter()).conditions())
        if limit is not None:
            yield from self._newest(conditions, limit)
            return
        last = 0
        while True:
            query = sa.select(audit).where(audit.c.seq > last, *conditions)
            with self._database.read() as connection:
                rows = connection.execute(query.order_by(audit.c.seq).limit(PAGE)).all()
            yield from (Entry(*row) for row in rows)
            if len(rows) < PAGE:
                return
            last = rows[-1].seq

    def newest(self, connection: sa.Connection, action: str, consent_id: str = "") -> Entry | None:
        """The last entry of exactly this action, of one consent if it is named."""
        query = sa.select(audit).where(audit.c.action == action)
        if consent_id:
            query = query.where(audit.c.consent_id == consent_id)
        row = connection.execute(query.order_by(audit.c.seq.desc()).limit(1)).first()
        return None if row is None else Entry(*row)

    def owned(self) -> bool | None:
        """Whether this vault signed how the log begins; None where nothing is written yet.

        Several entries are looked at, so that one that was tampered with is left to ``verify``.
        """
        with self._database.read() as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.seq).limit(_FIRST)).all()
        found = [Entry(*row) for row in rows]
        return any(self._vault.vouches(*signed(entry)) for entry in found) if found else None

    def vouched(self, entry: Entry) -> bool:
        """Whether an entry is what was written, by the operator."""
        return entry.hash == entry.reckoned() and self._vault.vouches(*signed(entry))

    def unanswered(self, began: str, ended: str) -> list[Entry]:
        """Entries of action ``began`` whose session has no entry of action ``ended``, in order."""
        answered = sa.select(audit.c.session).where(audit.c.action == ended)
        open_ones = audit.c.action == began, audit.c.session.not_in(answered)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(audit).where(*open_ones).order_by(audit.c.seq))
            return [Entry(*row) for row in rows]

    def _newest(self, conditions: list[sa.ColumnElement[bool]], limit: int) -> Iterator[Entry]:
        query = sa.select(audit).where(*conditions).order_by(audit.c.seq.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        yield from (Entry(*row) for row in reversed(rows))

    def head(self) -> str:
        """Number and hash of the newest entry, to be kept where this machine cannot write."""
        with self._database.read() as connection:
            seq, digest = self._head(connection)
        return f"{seq}:{digest}"

    def verify(self, kept: str = "", *, signatures: bool = True) -> int:
        """Walks the whole chain; returns how many entries it has.

        ``kept`` is a head that was written down earlier and must still be part of it, as the one
        must that the vault keeps. Raises ``AuditBroken``, which names the first broken link.
        """
        known = self.ledger.kept.read()
        vouches = self._vault.vouches if signatures else None
        count, digest, wanted = 0, START, _parsed(kept)
        for checked in walked(self._raw(), vouches):
            if isinstance(checked, Break):
                raise AuditBroken(f"the audit log is broken at entry {checked.seq}: {checked.why}")
            count, digest = checked.seq, checked.hash
            held = wanted, (known.seq, known.hash) if known else None
            if any(each and each[0] == count and each[1] != digest for each in held):
                raise AuditBroken(f"entry {count} is not the one whose hash was kept")
        with self._database.read() as connection:
            stored = self._head(connection)
        if stored != (count, digest) or (wanted and wanted[0] > count):
            last = max(stored[0], wanted[0] if wanted else 0)
            raise AuditBroken(f"the audit log ends with entry {count}, it had {last}")
        if why := self.ledger.missing(count, known):
            raise AuditBroken(why)
        return count

    def _raw(self) -> Iterator[Entry]:
        """Every row, in the order of the table's numbers; a number twice is met twice."""
        return self.entries()

    def _head(self, connection: sa.Connection) -> tuple[int, str]:
        seq, _, digest = str(connection.scalar(_HEAD)).partition(":")
        return int(seq), digest


def _parsed(kept: str) -> tuple[int, str] | None:
    seq, _, digest = kept.strip().partition(":")
    if not kept.strip():
        return None
    if not seq.isdecimal() or len(digest) != 64:
        raise AuditBroken(f"a kept head looks like 1234:HASH, not {kept!r:.80}")
    return int(seq), digest


def _storable(text: str) -> str:
    """Without what a database cannot keep: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
