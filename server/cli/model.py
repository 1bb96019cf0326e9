"""``continuum model``: what weights are, before they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.shell import AsJson, group

app = group("Look at model weights.")


@app.callback()
def _model() -> None:
    """Keeps ``inspect`` a command of its own: typer folds a group of one into its parent."""


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A weight file, or a folder of shards.")],
    sha256: Annotated[bool, typer.Option("--sha256", help="Read and hash the files too.")] = False,
    as_json: AsJson = False,
) -> int:
    """Describe weights from their headers: kind, size, memory, licence, what is missing.

    Exit status 0: complete. 1: incomplete. 2: cannot be read.
    """
    from pipeline.models.inspect import main  # imports torch

    flags = ["--sha256"] * sha256 + ["--json"] * as_json
    return main([*flags, "--", str(path)])
