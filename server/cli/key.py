"""``continuum key``: make, list and revoke API keys.

Keys have a store of their own; what is done to them is in the registry's audit log all the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from server.auth.keys import KEY_ROLES, Key, KeyRole, KeyStore
from server.cli.output import Output
from server.cli.shell import AsJson, Config, group, load_settings, operator
from server.consent.registry import open_registry

SHOWN_ONCE = "This is the only time that the key is shown. A server without keys must be restarted."

app = group("API keys: who may use this server.")


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What ``continuum key`` was given, for its sub-commands."""

    config: Path | None
    keys: Path | None
    output: Output

    @contextmanager
    def store(self) -> Iterator[KeyStore]:
        """The file of keys, open. Raises ``KeyStoreError`` or ``SettingsError``."""
        path = self.keys or Path(load_settings(self.config).keys)
        store = KeyStore(path.expanduser())
        try:
            yield store
        finally:
            store.close()

    def log(self, act: str, **about: Any) -> None:
        """One entry in the audit log of the settings' registry."""
        registry = open_registry(load_settings(self.config))
        try:
            registry.log.record(f"key.{act}", actor=operator(), **about)
        finally:
            registry.close()


@app.callback()
def _options(
    context: typer.Context,
    config: Config = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another key file than in the settings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    context.obj = KeyOptions(config, keys, Output(as_json))


def _role(text: str) -> KeyRole:
    if text not in KEY_ROLES:
        raise typer.BadParameter(f"a key's role is {', '.join(KEY_ROLES)}, not {text!r}")
    return KeyRole(text)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    role: Annotated[
        KeyRole,
        typer.Option(parser=_role, metavar="|".join(KEY_ROLES), help="What the key allows."),
    ],
    sessions: Annotated[
        int, typer.Option(metavar="N", help="Most sessions at a time; 0: as in the settings.")
    ] = 0,
    days: Annotated[
        float | None, typer.Option(metavar="N", help="Days until it expires. Default: never.")
    ] = None,
) -> None:
    """Make a key. It is printed once."""
    options: KeyOptions = context.obj
    options.log("create", name=name, role=str(role))
    with options.store() as store:
        key, text = store.create(name, role, sessions, days)
    options.output.one({**key.describe(), "key": text}, text)
    if not options.output.as_json:
        sys.stderr.write(SHOWN_ONCE + "\n")


@app.command("list")
def show_all(context: typer.Context) -> None:
    """List the keys. The keys themselves are not shown."""
    options: KeyOptions = context.obj
    with options.store() as store:
        keys, now = store.all(), store.clock()
    if options.output.as_json:
        options.output.rows([key.describe() for key in keys], "")
        return
    options.output.rows([_row(key, now) for key in keys], "no keys")


@app.command()
def revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The key's id: the part after ck_.")],  # noqa: A002
) -> None:
    """Revoke a key, its tokens and its running sessions, at once."""
    options: KeyOptions = context.obj
    options.log("revoke", id=id)
    with options.store() as store:
        key, now = store.revoke(id), store.clock()
    options.output.one(key.describe(), f"{key.id}  {_standing(key, now)}  {key.role}  {key.name}")


def _row(key: Key, now: float) -> dict[str, object]:
    made = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
    standing = _standing(key, now)
    return {
        "id": key.id, "standing": standing, "made": made, "role": key.role, "name": key.name,
    }  # fmt: skip


def _standing(key: Key, now: float) -> str:
    return "live" if key.live(now) else "revoked" if key.revoked_at else "expired"
