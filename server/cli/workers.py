"""``continuum workers``: the workers of a cluster, and how one leaves it."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.output import Output
from server.cli.shell import AsJson, group

app = group("Look at a cluster's workers, and drain them.")
COLUMNS = ("worker", "node", "model", "door", "slots", "taken", "free", "avatars", "problem")
Address = Annotated[
    str, typer.Option("--cluster", metavar="ADDRESS", help="Ray's address; auto is this machine's.")
]


@app.callback(invoke_without_command=True)
def workers(context: typer.Context, cluster: Address = "auto", as_json: AsJson = False) -> None:
    """List workers: where they run, their slots, the avatars that they have in memory."""
    if context.invoked_subcommand is None:
        from server.cluster import roll  # imports the media stack

        Output(as_json).rows(roll.rows(cluster), "There are no workers.", COLUMNS)


@app.command()
def drain(
    worker: Annotated[str, typer.Argument(help="Its name, as continuum workers shows it.")],
    cluster: Address = "auto",
) -> None:
    """Move a worker's sessions to others at their next silence, then end its process."""
    from server.cluster import roll

    roll.drain(cluster, worker)
    typer.echo(f"Worker {worker} has ended; no session is left on it.")
