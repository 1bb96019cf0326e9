"""Where settings come from: flags, the environment and a file.

A flag beats an environment variable (``CONTINUUM_PORT``), which beats the TOML file, which beats
the default. ``--print-config`` shows the outcome as TOML, to be saved and used as ``--config``.
A secret comes from the environment or from a file, named ``@FILE``; a flag, which everybody on the
machine can see, is refused.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

from server.settings.checks import SettingsError
from server.settings.settings import SECRETS, Settings
from server.settings.values import cast

PREFIX: Final = "CONTINUUM_"
NODE: Final = ("udp_ports", "udp_bind", "udp_announced", "cores")  # each machine's own


def load(
    argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, bool]:
    """Settings, and whether ``--print-config`` was asked for.

    Raises ``SettingsError``; a flag that does not exist ends the process as argparse does.
    """
    given = vars(_parser().parse_args(argv))
    path, show = given.pop("config"), given.pop("print_config")
    flags = {name: value for name, value in given.items() if value is not None}
    _refuse_bare_secrets(flags)
    variables = _environment(os.environ if environ is None else environ)
    merged = (_file(path) if path else {}) | variables | flags
    merged.update({name: _secret(name, merged[name]) for name in SECRETS if name in merged})
    types = get_type_hints(Settings)
    return Settings(**{name: cast(name, v, types[name]) for name, v in merged.items()}), show


def of_node(settings: Settings, environ: Mapping[str, str] | None = None) -> Settings:
    """As a worker uses them: what its machine's environment says of its network comes first."""
    given = _environment(os.environ if environ is None else environ)
    types = get_type_hints(Settings)
    here = {name: cast(name, given[name], types[name]) for name in NODE if name in given}
    return replace(settings, **here)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_server.py", description="Continuum: live avatars over WebRTC."
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings file")
    parser.add_argument("--print-config", action="store_true", help="show the settings and stop")
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        text = f"{item.metadata['help']} (default: {_shown(item.default)})"
        parser.add_argument(flag, dest=item.name, metavar="X", help=text.replace("%", "%%"))
    return parser


def _shown(value: object) -> str:
    return ",".join(value) or "none" if isinstance(value, tuple) else str(value) or "none"


def _file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except OSError as failure:
        raise SettingsError(f"cannot read {path}: {failure.strerror}") from failure
    except tomllib.TOMLDecodeError as failure:
        raise SettingsError(f"{path} is not TOML: {failure}") from failure
    known = {item.name for item in fields(Settings)}
    for name in content:
        if name not in known:
            raise SettingsError(f"{path}: there is no setting {name!r}; see --help")
    return content


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    names = {PREFIX + item.name.upper(): item.name for item in fields(Settings)}
    return {names[key]: value for key, value in environ.items() if key in names}


def _refuse_bare_secrets(flags: Mapping[str, str]) -> None:
    for name in SECRETS:
        if flags.get(name) and not flags[name].startswith("@"):
            raise SettingsError(
                f"{name} on the command line is seen by everybody on this machine: set"
                f" {PREFIX}{name.upper()}, or name a file as @FILE"
            )


def _secret(name: str, value: Any) -> Any:
    """A secret, read from the file that ``@FILE`` names."""
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as failure:
        raise SettingsError(f"{name}: cannot read the file {value[1:]}: {failure}") from failure
