"""``continuum policy``: what must be verified before a face is used, for all of a registry."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from pipeline.consent.policy import load_policy
from pipeline.consent.unlock import remembered
from server.cli.output import write
from server.cli.shell import Shell


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every sub-command of ``policy``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shown = commands.add_parser("show", help="what is in force, as a file", parents=[common])
    shown.set_defaults(run=_show)
    change = commands.add_parser(
        "set", help="put a file in force, for every process of this registry", parents=[common]
    )
    change.add_argument("file", type=Path, help="TOML; docs/consent.md says what it may hold")
    change.add_argument("--reason", default="", help="for the audit log")
    change.set_defaults(run=_set)
    premises = commands.add_parser(
        "premises", help="where vault, keys and models are, for all", parents=[common]
    )
    premises.set_defaults(run=_premises)


def _show(shell: Shell, _: argparse.Namespace) -> None:
    held = shell.registry.policies.in_force()
    if shell.output.as_json:
        shell.output.one(held.content(), "")
        return
    write(held.toml().rstrip())


def _set(shell: Shell, arguments: argparse.Namespace) -> None:
    policy = load_policy(arguments.file)
    order = shell.registry.policies.set(policy, actor=shell.actor, reason=arguments.reason)
    row = {"number": order.number} | policy.content()
    shell.output.one(row, f"policy {order.number} is in force, for running sessions as well")


def _premises(shell: Shell, _: argparse.Namespace) -> None:
    registry = shell.registry
    held = asdict(remembered(registry.orders)) | {"vault": str(registry.vault.folder)}
    shell.output.fields({"registry": registry.database.shown} | held)
