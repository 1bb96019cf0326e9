"""``continuum key``: make, list and revoke API keys."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from server import settings
from server.auth.keys import KEY_ROLES, Key, KeyRole, KeyStore

SHOWN_ONCE = "This is the only time that the key is shown. A server without keys must be restarted."


def run(arguments: argparse.Namespace) -> int:
    """Does what parsed arguments ask. Raises ``KeyStoreError`` or ``SettingsError``."""
    store = KeyStore(_path(arguments))
    try:
        arguments.run(store, arguments)
    finally:
        store.close()
    return 0


def add_commands(parser: argparse.ArgumentParser) -> None:
    """``create``, ``list`` and ``revoke``, for this command and for the admin command."""
    parser.add_argument("--config", metavar="FILE.toml", help="the server's settings file")
    parser.add_argument("--keys", metavar="FILE", help="file of keys (default: the server's)")
    parser.add_argument("--json", action="store_true", help="for machines")
    commands = parser.add_subparsers(
        required=True, dest="key_act", metavar="create | list | revoke"
    )
    create = commands.add_parser("create", help="make a key; prints it once")
    create.add_argument("name", help="whose it is")
    create.add_argument("--role", type=KeyRole, choices=KEY_ROLES, required=True)
    create.add_argument(
        "--sessions", type=int, default=0, metavar="N", help="at a time; 0: default"
    )
    create.add_argument("--days", type=float, metavar="N", help="expires after so many days")
    create.set_defaults(run=_create)
    commands.add_parser("list", help="show every key").set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="close a key, from now on")
    revoke.add_argument("id", help="its id: what follows ck_")
    revoke.set_defaults(run=_revoke)


def _path(arguments: argparse.Namespace) -> Path:
    if arguments.keys:
        return Path(arguments.keys).expanduser()
    chosen, _ = settings.load(["--config", arguments.config] if arguments.config else [])
    return Path(chosen.keys).expanduser()


def _create(store: KeyStore, arguments: argparse.Namespace) -> None:
    key, text = store.create(arguments.name, arguments.role, arguments.sessions, arguments.days)
    if arguments.json:
        _print(json.dumps({**key.describe(), "key": text}))
        return
    _print(text)
    sys.stderr.write(SHOWN_ONCE + "\n")


def _list(store: KeyStore, arguments: argparse.Namespace) -> None:
    keys = store.all()
    if arguments.json:
        _print(json.dumps([key.describe() for key in keys]))
        return
    _print("\n".join(_row(key, store.clock()) for key in keys) or "no keys")


def _revoke(store: KeyStore, arguments: argparse.Namespace) -> None:
    key = store.revoke(arguments.id)
    _print(json.dumps(key.describe()) if arguments.json else _row(key, store.clock()))


def _row(key: Key, now: float) -> str:
    made = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
    standing = "live" if key.live(now) else "revoked" if key.revoked_at else "expired"
    return f"{key.id}  {standing:<8} {made}  {key.role:<11} {key.name}"


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
