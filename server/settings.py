"""Settings: the only reader of flags, environment and files.

A flag beats an environment variable (``CONTINUUM_PORT``), which beats the TOML file, which beats
the default. ``--print-config`` shows the outcome as TOML, to be saved and used as ``--config``.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

PREFIX: Final = "CONTINUUM_"
CODECS: Final = ("video/VP8", "video/H264")


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what is expected."""


def _help(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. Names are flags, environment variables and TOML keys."""

    host: str = _help("127.0.0.1", "address to listen on")
    port: int = _help(8080, "port to listen on")
    model: str = _help("mini", "bundled model to run")
    registry: str = _help("~/.local/share/continuum/consents.sqlite", "consent registry")
    slots: int = _help(0, "sessions at a time; 0 measures what this machine can carry")
    grace_s: float = _help(10.0, "how long a session waits for a peer")
    drain_s: float = _help(30.0, "how long a shutdown waits for running sessions")
    ice_servers: tuple[str, ...] = _help((), "stun: and turn: URLs for both sides, comma-separated")
    turn_user: str = _help("", "TURN user name, for fixed credentials")
    turn_password: str = _help("", "TURN password, for fixed credentials")
    turn_secret: str = _help("", "coturn static-auth-secret, for credentials that expire")
    origins: tuple[str, ...] = _help((), "other origins that may call from a page; * is any")
    video_codecs: tuple[str, ...] = _help(CODECS, "video codecs by preference")
    bitrate_start: int = _help(1_500_000, "video bitrate to begin with, bits per second")
    bitrate_min: int = _help(300_000, "lowest video bitrate")
    bitrate_max: int = _help(3_000_000, "highest video bitrate")
    delay_min_ms: int = _help(150, "least playout delay")
    delay_max_ms: int = _help(450, "greatest playout delay")
    backlog_s: float = _help(30.0, "how much speech may wait to be spoken")
    threads: int = _help(2, "threads that decode and encode media")
    log_level: str = _help("info", "debug, info, warning or error")
    log_json: bool = _help(False, "one JSON object a line")

    def __post_init__(self) -> None:
        self._between("port", 0, 65535)
        self._between("slots", 0, 10_000)
        self._between("threads", 1, 64)
        self._between("grace_s", 0.5, 3600)
        self._between("drain_s", 0, 3600)
        self._between("backlog_s", 1, 600)
        self._ordered("bitrate_min", "bitrate_start", "bitrate_max")
        self._ordered("delay_min_ms", "delay_max_ms")
        self._one_of("log_level", (self.log_level,), ("debug", "info", "warning", "error"))
        self._one_of("video_codecs", self.video_codecs, CODECS)
        self._ice()

    def _between(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise SettingsError(f"{name} must be between {low} and {high}, not {value}")

    def _ordered(self, *names: str) -> None:
        values = [getattr(self, name) for name in names]
        if values[0] <= 0 or values != sorted(values):
            shown = " <= ".join(f"{n} {v}" for n, v in zip(names, values, strict=True))
            raise SettingsError(f"must be positive and in this order: {shown}")

    def _one_of(self, name: str, given: Sequence[str], allowed: Sequence[str]) -> None:
        for value in given:
            if value not in allowed:
                raise SettingsError(f"{name} must be among {', '.join(allowed)}, not {value!r}")

    def _ice(self) -> None:
        for url in self.ice_servers:
            if not url.startswith(("stun:", "turn:", "turns:")):
                raise SettingsError(f"ice_servers holds stun:, turn: and turns: URLs, not {url!r}")

    def toml(self) -> str:
        """These settings as a file that ``--config`` reads. Secrets are left out."""
        rows = []
        for item in fields(self):
            value = getattr(self, item.name)
            secret = item.name in ("turn_password", "turn_secret") and value
            shown = '""  # set, not shown' if secret else json.dumps(value, ensure_ascii=False)
            rows.append(f"{item.name} = {shown}")
        return "\n".join(rows) + "\n"


def load(
    argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, bool]:
    """Settings, and whether ``--print-config`` was asked for.

    Raises ``SettingsError``; a flag that does not exist ends the process as argparse does.
    """
    given = vars(_parser().parse_args(argv))
    path, show = given.pop("config"), given.pop("print_config")
    merged: dict[str, Any] = {}
    merged.update(_file(path) if path else {})
    merged.update(_environment(os.environ if environ is None else environ))
    merged.update({name: value for name, value in given.items() if value is not None})
    types = get_type_hints(Settings)
    return Settings(**{name: _cast(name, v, types[name]) for name, v in merged.items()}), show


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


def _cast(name: str, value: Any, kind: Any) -> Any:
    try:
        if get_origin(kind) is tuple:
            return _strings(value, get_args(kind)[0])
        if kind is bool:
            return _truth(value)
        return kind(value)
    except (TypeError, ValueError) as failure:
        wanted = getattr(kind, "__name__", "list")
        raise SettingsError(f"{name} must be a {wanted}, not {value!r}") from failure


def _strings(value: Any, kind: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(kind(part).strip() for part in parts if str(part).strip())


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]
