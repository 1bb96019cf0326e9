"""``continuum``: all its commands in one; 2 with one line on stderr when something is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from pipeline.errors import ContinuumError
from server.auth.keys import KeyStoreError
from server.cli import audit, avatar, consent, deny, doctor, key, model, policy, workers
from server.settings import SettingsError

app = typer.Typer(
    help="Manages a Continuum installation.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (consent, avatar, audit, deny, policy, key, model, workers):
    app.add_typer(part.app, name=part.__name__.rpartition(".")[2])
app.command()(doctor.doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 0 on success, 2 with one line on stderr when it is refused."""
    run = typer.main.get_command(app)
    try:
        return run.main(argv, prog_name="continuum", standalone_mode=False) or 0
    except typer.TyperException as wrong:
        return _refuse(_usage(wrong))
    except (ContinuumError, SettingsError, KeyStoreError) as refusal:
        return _refuse(str(refusal))
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"continuum: {' '.join(why.split())}\n")
    return 2


def _usage(wrong: typer.TyperException) -> str:
    """What is wrong with the command line, and where its help is."""
    context = getattr(wrong, "ctx", None)
    path = context.command_path if context else "continuum"
    message = wrong.format_message().strip().rstrip(".")
    return f"{message[:1].lower()}{message[1:]} ({path} --help shows the options)"


if __name__ == "__main__":
    sys.exit(main())
