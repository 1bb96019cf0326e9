"""``continuum deny``: who is protected, and audited exceptions for their own verified consent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.consent.options import read_picture
from server.cli.shell import Reason, Shell, group, registry_command

app = group("Protected people: nobody may use their name or face.")

ConsentId = Annotated[str, typer.Argument(metavar="CONSENT", help="Id of their consent record.")]


@registry_command(app)
def add(
    shell: Shell,
    name: Annotated[str, typer.Argument(help="The person's name, in any script.")],
    alias: Annotated[list[str] | None, typer.Option(help="Another name; repeatable.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture; copies of it are recognised.")
    ] = None,
    reason: Reason = "",
) -> None:
    """Protect a person. Prints the id of the protection."""
    denial = shell.registry.denials.add(
        name,
        aliases=alias or [],
        reason=reason,
        picture=None if image is None else read_picture(image),
        actor=shell.actor,
    )
    shell.output.one(asdict(denial), denial.id)


@registry_command(app, "list")
def show_all(shell: Shell) -> None:
    """List the protected people."""
    rows = [asdict(denial) for denial in shell.registry.denials.all()]
    columns = ("id", "name", "aliases", "has_picture", "reason")
    shell.output.rows(rows, "nobody is protected", columns)


@registry_command(app)
def remove(
    shell: Shell,
    id: Annotated[str, typer.Argument(help="Id of the protection: d-...")],  # noqa: A002
    reason: Reason = "",
) -> None:
    """Stop protecting a person."""
    shell.registry.denials.remove(id, reason=reason, actor=shell.actor)
    shell.output.one({"id": id}, f"{id} is removed")


@registry_command(app)
def override(
    shell: Shell,
    consent: ConsentId,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
) -> None:
    """Allow a protected person's own consent. The record needs evidence and all checks passed."""
    shell.registry.override(consent, reason, actor=shell.actor)
    shell.output.one({"consent": consent}, f"protections lifted for {consent}")


@registry_command(app)
def withdraw(shell: Shell, consent: ConsentId) -> None:
    """End an override: the protection counts again."""
    shell.registry.denials.withdraw(consent, actor=shell.actor)
    shell.output.one({"consent": consent}, f"protections count for {consent}")
