"""What commands print: tables for people, JSON for programs.

A table is drawn for the width of the terminal. Where there is none, every row is one line, with
nothing but spaces between the columns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, object]
UNBOUNDED: Final = 100_000  # columns of what is no terminal: no cell is ever wrapped


@dataclass(frozen=True, slots=True)
class Output:
    """One way of printing, chosen by ``--json``."""

    as_json: bool

    def rows(self, rows: Sequence[Row], empty: str, columns: Sequence[str] = ()) -> None:
        """Many things: a JSON array, or a table of some columns (all when none are named)."""
        if self.as_json:
            write(json.dumps(list(rows), ensure_ascii=False))
        elif rows:
            write(drawn(table(rows, columns, sys.stdout.isatty())))
        else:
            write(empty)

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


def table(rows: Sequence[Row], columns: Sequence[str], terminal: bool) -> Table:
    """Columns under their names; the first one, which names the row, is never wrapped."""
    names = list(columns) or list(rows[0])
    made = Table(box=box.SIMPLE_HEAD if terminal else None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        made.add_column(name.replace("_", " "), no_wrap=name == names[0], overflow="fold")
    for row in rows:
        made.add_row(*(Text(shown(row.get(name))) for name in names))
    return made


def drawn(made: Table) -> str:
    """A table as text: for this terminal, or plain where standard output is none."""
    width = None if sys.stdout.isatty() else UNBOUNDED
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as text:
        console.print(made)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def shown(value: object) -> str:
    """A value as people read it, on one line; what would move the cursor is left out."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float) and value > 1e9:
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(shown, value)) or "-"
    return "".join(c for c in " ".join(str(value).split()) if c.isprintable())


def moment(seconds: float) -> str:
    """A time since the epoch, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def write(text: str) -> None:
    """One line or more to standard output."""
    sys.stdout.write(text + "\n")
