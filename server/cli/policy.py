"""``continuum policy``: what must be verified before a face is used, for all of a registry."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.consent.policy import load_policy
from pipeline.consent.unlock import remembered
from server.cli.output import write
from server.cli.shell import Reason, Shell, group, registry_command

app = group("Your policy: what must be verified before a face is used.")


@registry_command(app)
def show(shell: Shell) -> None:
    """Show the policy in force, as a TOML file."""
    held = shell.registry.policies.in_force()
    if shell.output.as_json:
        shell.output.one(held.content(), "")
        return
    write(held.toml().rstrip())


@registry_command(app, "set")
def put(
    shell: Shell,
    file: Annotated[Path, typer.Argument(help="A TOML file; docs/consent.md lists its fields.")],
    reason: Reason = "",
) -> None:
    """Put a policy in force. All servers and commands of this registry follow it."""
    policy = load_policy(file)
    order = shell.registry.policies.set(policy, actor=shell.actor, reason=reason)
    row = {"number": order.number} | policy.content()
    shell.output.one(row, f"policy {order.number} is in force, for running sessions as well")


@registry_command(app)
def registry(shell: Shell) -> None:
    """Show where the registry, its vault, keys and models are."""
    opened = shell.registry
    held = asdict(remembered(opened.settings)) | {"vault": str(opened.vault.folder)}
    shell.output.fields({"registry": opened.database.shown} | held)
