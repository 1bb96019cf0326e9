"""``continuum deny``: who is protected, and audited exceptions for their own verified consent."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from pipeline.consent.options import read_picture
from server.cli.shell import Shell


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every sub-command of ``deny``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="protect a person", parents=[common])
    add.add_argument("name", help="in any script")
    add.add_argument("--alias", action="append", default=[], help="another name, repeatable")
    add.add_argument("--image", type=Path, help="a picture to be recognised")
    add.add_argument("--reason", default="", help="for the audit log")
    add.set_defaults(run=_add)
    listed = commands.add_parser("list", help="everybody who is protected", parents=[common])
    listed.set_defaults(run=_list)
    remove = commands.add_parser("remove", help="protect a person no longer", parents=[common])
    remove.add_argument("id", help="of the protection: d-...")
    remove.add_argument("--reason", default="", help="for the audit log")
    remove.set_defaults(run=_remove)
    override = commands.add_parser(
        "override", help="lift protections for a verified consent", parents=[common]
    )
    override.add_argument("consent", help="a record with evidence, all checks passed")
    override.add_argument("--reason", required=True, help="for the audit log")
    override.set_defaults(run=_override)
    withdraw = commands.add_parser("withdraw", help="end an override", parents=[common])
    withdraw.add_argument("consent")
    withdraw.set_defaults(run=_withdraw)


def _add(shell: Shell, arguments: argparse.Namespace) -> None:
    picture = None if arguments.image is None else read_picture(arguments.image)
    denial = shell.registry.denials.add(
        arguments.name,
        aliases=arguments.alias,
        reason=arguments.reason,
        picture=picture,
        actor=shell.actor,
    )
    shell.output.one(asdict(denial), denial.id)


def _list(shell: Shell, _: argparse.Namespace) -> None:
    rows = [asdict(denial) for denial in shell.registry.denials.all()]
    columns = ("id", "name", "aliases", "has_picture", "reason")
    shell.output.rows(rows, "nobody is protected", columns)


def _remove(shell: Shell, arguments: argparse.Namespace) -> None:
    shell.registry.denials.remove(arguments.id, reason=arguments.reason, actor=shell.actor)
    shell.output.one({"id": arguments.id}, f"{arguments.id} is removed")


def _override(shell: Shell, arguments: argparse.Namespace) -> None:
    shell.registry.override(arguments.consent, arguments.reason, actor=shell.actor)
    shell.output.one({"consent": arguments.consent}, f"protections lifted for {arguments.consent}")


def _withdraw(shell: Shell, arguments: argparse.Namespace) -> None:
    shell.registry.denials.withdraw(arguments.consent, actor=shell.actor)
    shell.output.one({"consent": arguments.consent}, f"protections count for {arguments.consent}")
