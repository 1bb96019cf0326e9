"""``continuum audit``: read, export and verify the audit log."""

from __future__ import annotations

import calendar
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from pipeline.consent.audit import Filter
from pipeline.consent.chain import first_break
from pipeline.consent.vault import voucher
from pipeline.errors import AuditBroken
from server.cli.output import moment, write
from server.cli.shell import Shell, group, registry_command

COLUMNS = ("seq", "at", "actor", "action", "consent_id", "avatar", "session", "detail")

app = group("The audit log: who did what, and proof that nobody changed it.")


def _time(text: str) -> float:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        try:
            return float(calendar.timegm(time.strptime(text, form)))
        except ValueError:
            continue
    raise typer.BadParameter(f"a time is 2026-11-22 or 2026-11-22T18:00, not {text!r}")


Action = Annotated[str, typer.Option(help="Only this action, or group of actions.")]
Actor = Annotated[str, typer.Option(help="Only what this actor did.")]
ConsentId = Annotated[str, typer.Option(help="Only this consent record.")]
Avatar = Annotated[str, typer.Option(help="Only this avatar.")]
Session = Annotated[str, typer.Option(help="Only this session.")]
Since = Annotated[
    float | None,
    typer.Option(parser=_time, metavar="UTC", help="From then on, such as 2026-11-22T18:00."),
]
Until = Annotated[float | None, typer.Option(parser=_time, metavar="UTC", help="Until then.")]


@registry_command(app, "list")
def show_newest(
    shell: Shell,
    limit: Annotated[int, typer.Option(metavar="N", help="How many.")] = 50,
    action: Action = "",
    actor: Actor = "",
    consent_id: ConsentId = "",
    avatar: Avatar = "",
    session: Session = "",
    since: Since = None,
    until: Until = None,
) -> None:
    """List the newest entries."""
    wanted = Filter(action, actor, consent_id, avatar, session, since, until)
    entries = shell.registry.log.entries(wanted, limit)
    rows = [entry.describe() | {"at": moment(entry.at_ms / 1000)} for entry in entries]
    shell.output.rows(rows, "no entries", COLUMNS)


@registry_command(app)
def export(
    shell: Shell,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: standard output.")
    ] = None,
    action: Action = "",
    actor: Actor = "",
    consent_id: ConsentId = "",
    avatar: Avatar = "",
    session: Session = "",
    since: Since = None,
    until: Until = None,
) -> None:
    """Write entries as JSON lines."""
    wanted = Filter(action, actor, consent_id, avatar, session, since, until)
    with _written(out) as file:
        for entry in shell.registry.log.entries(wanted):
            file.write(entry.line() + "\n")


@registry_command(app)
def verify(
    shell: Shell,
    file: Annotated[
        Path | None, typer.Option(help="An exported log, instead of the registry's.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The operator's public key, for --file.")
    ] = None,
    head: Annotated[
        str, typer.Option(help="An entry that `audit head` printed: it must still be there.")
    ] = "",
) -> None:
    """Check that no entry was changed, removed or added by others."""
    if file is None:
        count = shell.registry.log.verify(head)
        shell.output.one({"intact": True, "entries": count}, f"intact: {count} entries")
        return
    vouches = voucher(key) if key else shell.registry.vault.vouches
    try:
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            broken = first_break(lines, vouches)
    except OSError as error:
        raise AuditBroken(f"cannot read {file}: {error.strerror}") from error
    if broken is not None:
        raise AuditBroken(f"{file} is broken at entry {broken.seq}: {broken.why}")
    shell.output.one({"intact": True}, f"{file} is intact")


@registry_command(app)
def head(shell: Shell) -> None:
    """Print the newest entry's number and hash. Keep it elsewhere, for `audit verify --head`."""
    write(shell.registry.log.head())


@registry_command(app)
def key(shell: Shell) -> None:
    """Print the public key that checks signatures."""
    write(shell.registry.vault.public_key().decode().rstrip())


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise AuditBroken(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield file
