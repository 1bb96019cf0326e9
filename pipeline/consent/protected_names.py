"""Whether a text is the name of a protected person; the list is reread when it changes.

The gate asks at the start of every session, so answers are cached until a protection changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from pipeline.consent.database import Database
from pipeline.consent.ledger import Ledger
from pipeline.consent.name_matching import Name, means, readings
from pipeline.consent.protections import Protection, alive, check
from pipeline.consent.schema import denials

_EXTENT: Final = sa.select(  # protections are added and removed, never changed
    sa.func.count(), sa.func.count(denials.c.removed_at), sa.func.max(denials.c.added_at)
)
_ASKED: Final = 10_000


@dataclass(frozen=True, slots=True)
class _List:
    """Names by protection, as of a revision; ``extent`` tells one list from the next."""

    revision: int = -1
    extent: tuple[object, ...] = ()
    names: tuple[tuple[str, frozenset[Name]], ...] = ()
    answers: dict[tuple[str, ...], str | None] = field(default_factory=dict)


class ProtectedNames:
    """The protected names of one registry."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger
        self._list = _List()

    def named(self, texts: tuple[str, ...]) -> str | None:
        """The id of the protection whose name one of the texts is. Raises ``ConsentTampered``."""
        held = self._current()
        if texts in held.answers:
            return held.answers[texts]
        answer = _found(held, texts)
        if len(held.answers) < _ASKED:
            held.answers[texts] = answer
        return answer

    def _current(self) -> _List:
        revision = self._database.revision()
        if self._list.revision != revision:
            with self._ledger.snapshot() as (connection, facts):
                told = frozenset(facts.protections.items())
                extent = (*connection.execute(_EXTENT).one(), hash(told))
                if extent == self._list.extent:
                    self._list = replace(self._list, revision=revision)
                else:
                    rows = alive(connection)
                    check(facts.protections, rows)
                    self._list = _List(revision, extent, _names(rows))
        return self._list


def _names(rows: Sequence[Protection]) -> tuple[tuple[str, frozenset[Name]], ...]:
    return tuple(
        (row.id, frozenset(name for text in (row.name, *row.aliases) for name in readings(text)))
        for row in sorted(rows, key=lambda row: row.id)
    )


def _found(held: _List, texts: tuple[str, ...]) -> str | None:
    for denial_id, names in held.names:
        if any(means(text, names) for text in texts):
            return denial_id
    return None
