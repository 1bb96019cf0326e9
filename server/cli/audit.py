"""``continuum audit``: read, export and prove the audit log."""

from __future__ import annotations

import argparse
import calendar
import sys
import time
from pathlib import Path

from pipeline.consent.audit import Filter
from pipeline.consent.chain import first_break
from pipeline.consent.vault import voucher
from pipeline.errors import AuditBroken
from server.cli.output import moment, write
from server.cli.shell import Shell

COLUMNS = ("seq", "at", "actor", "action", "consent_id", "avatar", "session", "detail")


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every sub-command of ``audit``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="the newest entries", parents=[common])
    listed.add_argument("--limit", type=int, default=50, metavar="N")
    listed.set_defaults(run=_list)
    export = commands.add_parser("export", help="entries as JSON lines", parents=[common])
    export.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    export.set_defaults(run=_export)
    for command in (listed, export):
        for name in ("action", "actor", "consent-id", "avatar", "session"):
            command.add_argument(f"--{name}", default="", help=f"only this {name}")
        command.add_argument("--since", type=_time, metavar="UTC", help="as 2026-11-22T18:00")
        command.add_argument("--until", type=_time, metavar="UTC")
    verify = commands.add_parser("verify", help="prove the chain", parents=[common])
    verify.add_argument("--file", type=Path, help="an exported log instead of the registry's")
    verify.add_argument("--key", type=Path, metavar="PEM", help="the operator's, for --file")
    verify.add_argument("--head", default="", help="a head that was kept: must still be there")
    verify.set_defaults(run=_verify)
    head = commands.add_parser("head", help="what to keep elsewhere", parents=[common])
    head.set_defaults(run=_head)
    key = commands.add_parser("key", help="the public key that checks signatures", parents=[common])
    key.set_defaults(run=_key)


def _list(shell: Shell, arguments: argparse.Namespace) -> None:
    entries = shell.registry.log.entries(_filter(arguments), arguments.limit)
    rows = [entry.describe() | {"at": moment(entry.at_ms / 1000)} for entry in entries]
    shell.output.rows(rows, "no entries", COLUMNS)


def _export(shell: Shell, arguments: argparse.Namespace) -> None:
    try:
        out = sys.stdout if arguments.out is None else arguments.out.open("w", encoding="utf-8")
    except OSError as error:
        raise AuditBroken(f"cannot write {arguments.out}: {error.strerror}") from error
    try:
        for entry in shell.registry.log.entries(_filter(arguments)):
            out.write(entry.line() + "\n")
    finally:
        if arguments.out is not None:
            out.close()


def _verify(shell: Shell, arguments: argparse.Namespace) -> None:
    if arguments.file is None:
        count = shell.registry.log.verify(arguments.head)
        shell.output.one({"intact": True, "entries": count}, f"intact: {count} entries")
        return
    vouches = voucher(arguments.key) if arguments.key else shell.registry.vault.vouches
    try:
        with arguments.file.open(encoding="utf-8", errors="surrogateescape") as file:
            broken = first_break(file, vouches)
    except OSError as error:
        raise AuditBroken(f"cannot read {arguments.file}: {error.strerror}") from error
    if broken is not None:
        raise AuditBroken(f"{arguments.file} is broken at entry {broken.seq}: {broken.why}")
    shell.output.one({"intact": True}, f"{arguments.file} is intact")


def _head(shell: Shell, _: argparse.Namespace) -> None:
    write(shell.registry.log.head())


def _key(shell: Shell, _: argparse.Namespace) -> None:
    write(shell.registry.vault.public_key().decode().rstrip())


def _filter(arguments: argparse.Namespace) -> Filter:
    names = ("action", "actor", "consent_id", "avatar", "session")
    texts = {name: getattr(arguments, name) for name in names}
    return Filter(**texts, since=arguments.since, until=arguments.until)


def _time(text: str) -> float:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"):
        try:
            return float(calendar.timegm(time.strptime(text, form)))
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"a time is 2026-11-22 or 2026-11-22T18:00, not {text!r}")
