"""What commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Output:
    """One way of printing, chosen by ``--json``."""

    as_json: bool

    def rows(self, rows: Sequence[Row], empty: str, columns: Sequence[str] = ()) -> None:
        """Many things: a JSON array, or a table of some columns (all when none are named)."""
        if self.as_json:
            write(json.dumps(list(rows), ensure_ascii=False))
            return
        write(table(rows, columns) if rows else empty)

    def one(self, row: Row, plain: str) -> None:
        """One thing: a JSON object, or the line that people need of it."""
        write(json.dumps(row, ensure_ascii=False) if self.as_json else plain)

    def fields(self, row: Row) -> None:
        """Everything about one thing, a line each."""
        if self.as_json:
            write(json.dumps(row, ensure_ascii=False))
            return
        width = max(map(len, row))
        write("\n".join(f"{name:<{width}}  {shown(value)}" for name, value in row.items()))


def table(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """Aligned columns under their names."""
    names = list(columns) or list(rows[0])
    cells = [[name.replace("_", " ") for name in names]]
    cells += [[shown(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def shown(value: object) -> str:
    """A value as people read it, on one line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float) and value > 1e9:
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(shown, value)) or "-"
    return " ".join(str(value).split())


def moment(seconds: float) -> str:
    """A time since the epoch, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def write(text: str) -> None:
    """One line or more to standard output."""
    sys.stdout.write(text + "\n")
