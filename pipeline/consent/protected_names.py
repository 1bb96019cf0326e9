"""Whether a text is the name of a protected person; the list is reread when it changes.

The gate asks at the start of every session, so answers are cached until a protection changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from pipeline.consent.database import Database
from pipeline.consent.name_matching import Name, means, readings
from pipeline.consent.schema import denials

_EXTENT: Final = sa.select(  # protections are added and removed, never changed
    sa.func.count(), sa.func.count(denials.c.removed_at), sa.func.max(denials.c.added_at)
)
_LISTED: Final = sa.select(denials.c.id, denials.c.name, denials.c.aliases)
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

    def __init__(self, database: Database) -> None:
        self._database = database
        self._list = _List()

    def named(self, texts: tuple[str, ...]) -> str | None:
        """The id of the protection whose name one of the texts is."""
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
            with self._database.read() as connection:
                extent = tuple(connection.execute(_EXTENT).one())
                if extent == self._list.extent:
                    self._list = replace(self._list, revision=revision)
                else:
                    self._list = _List(revision, extent, _read(connection))
        return self._list


def _read(connection: sa.Connection) -> tuple[tuple[str, frozenset[Name]], ...]:
    rows = connection.execute(_LISTED.where(denials.c.removed_at.is_(None)).order_by(denials.c.id))
    return tuple(
        (row.id, frozenset(name for text in (row.name, *row.aliases.split("\n"))
                           for name in readings(text)))
        for row in rows
    )  # fmt: skip


def _found(held: _List, texts: tuple[str, ...]) -> str | None:
    for denial_id, names in held.names:
        if any(means(text, names) for text in texts):
            return denial_id
    return None
