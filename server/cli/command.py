"""``continuum``: arguments to settings to registry to one act; 2 with one line when refused."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import ContinuumError
from server import settings
from server.auth.keys import KeyStoreError
from server.cli import audit, avatar, consent, deny, key as key_command, policy
from server.cli.output import Output
from server.cli.shell import Shell, operator
from server.consent.registry import open_registry

PARTS = {
    "consent": (consent, "who agreed to what"),
    "avatar": (avatar, "whom servers of this registry offer"),
    "audit": (audit, "who did what"),
    "deny": (deny, "who is protected"),
    "policy": (policy, "what must be verified"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command; 0 on success, 2 with one line on stderr when it is refused."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:2] == ["model", "inspect"]:  # a command of the pipeline, with options of its own
        return _inspect(given[2:])
    arguments = _parser().parse_args(given)
    try:
        if arguments.part == "key":
            return _key(arguments)
        return _act(arguments)
    except (ContinuumError, settings.SettingsError, KeyStoreError) as refusal:
        sys.stderr.write(f"continuum: {' '.join(str(refusal).split())}\n")
        return 2
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _act(arguments: argparse.Namespace) -> int:
    chosen = _settings(arguments)
    registry = open_registry(chosen)
    shell = Shell(registry, Output(arguments.json), operator(), chosen.avatars_max)
    try:
        arguments.run(shell, arguments)
    finally:
        registry.close()
    return 0


def _key(arguments: argparse.Namespace) -> int:
    """Keys have a store of their own; what is done to them is in the audit log all the same."""
    if arguments.key_act != "list":
        registry = open_registry(_settings(arguments))
        try:
            about: dict[str, Any] = {
                n: str(v) for n in ("name", "role", "id") if (v := getattr(arguments, n, ""))
            }
            registry.log.record(f"key.{arguments.key_act}", actor=operator(), **about)
        finally:
            registry.close()
    return key_command.run(arguments)


def _inspect(rest: list[str]) -> int:
    from pipeline.inspect import main as inspect  # imports torch

    return inspect(rest)


def _settings(arguments: argparse.Namespace) -> settings.Settings:
    chosen, _ = settings.load(["--config", arguments.config] if arguments.config else [])
    named = getattr(arguments, "registry", None)
    return replace(chosen, registry=named) if named else chosen


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE.toml", help="the server's settings file")
    common.add_argument("--registry", metavar="FILE|URL", help="instead of the settings' one")
    common.add_argument("--json", action="store_true", help="for machines")
    parser = argparse.ArgumentParser(
        prog="continuum", description="Manages a Continuum installation."
    )
    parts = parser.add_subparsers(required=True, dest="part", metavar="|".join((*PARTS, "key")))
    for name, (module, text) in PARTS.items():
        module.add_commands(parts.add_parser(name, help=text, description=text), common)
    key = parts.add_parser("key", help="who may call, and be an operator")
    key_command.add_commands(key)
    model = parts.add_parser("model", help="what weights are")
    inspect = model.add_subparsers(required=True, metavar="inspect")
    inspect.add_parser("inspect", help="of a path, before it is read")
    return parser


if __name__ == "__main__":
    sys.exit(main())
