"""Settings: the only reader of flags, environment and files.

A flag beats an environment variable (``CONTINUUM_PORT``), which beats the TOML file, which beats
the default. ``--print-config`` shows the outcome as TOML, to be saved and used as ``--config``.
A secret comes from the environment or from a file, named ``@FILE``; a flag, which everybody on the
machine can see, is refused.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints
from urllib.parse import urlsplit

PREFIX: Final = "CONTINUUM_"
CODECS: Final = ("video/VP8", "video/H264")
SECRETS: Final = (
    "turn_password",
    "turn_secret",
    "token_secret",
    "voice_key",
)
PLACES: Final = ("top-left", "top-right", "bottom-left", "bottom-right")
STYLES: Final = ("dark", "light", "outline")
TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what is expected."""


def _help(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A setting: what it is, and for numbers the least and the greatest that may be chosen."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. Names are flags, environment variables and TOML keys."""

    host: str = _help("127.0.0.1", "address to listen on")
    port: int = _help(8080, "port to listen on", 0, 65535)
    model: str = _help("mini", "bundled model, or the path of a published checkpoint")
    checkpoint: str = _help("", "name of the checkpoint, if the folder holds several")
    device: str = _help("cpu", "cpu or cuda, for a published checkpoint")
    speed: str = _help("plain", "accelerations of a published checkpoint: plain or a profile")
    decoder: str = _help("full", "decoder of a checkpoint: full, tiny or the path of a small one")
    recipe: str = _help("continuum", "how a checkpoint's chunks are joined: continuum or published")
    force: bool = _help(False, "run a checkpoint at sizes that it was not trained for")
    registry: str = _help("~/.local/share/continuum/consents.sqlite", "consent registry")
    # The registry remembers the next six for all who open it; empty or -1 is what it remembers.
    vault: str = _help("", "keys and encrypted files; at first a folder beside the registry")
    operator_key: str = _help("", "Ed25519 key in PEM that signs records; at first the vault's")
    evidence_key: str = _help("", "file with the key, base64, of encrypted files; likewise")
    retention_days: float = _help(-1.0, "days files stay after revocation; at first 0", -1, 36_500)
    face_model: str = _help("", "ONNX model that recognises faces, with its card; or none")
    age_model: str = _help("", "ONNX model that estimates age, with its card; or none")
    policy: str = _help("", "TOML: stricter policy on top of the registry's, for this server")
    registry_grace_s: float = _help(30.0, "how long sessions go on without the registry", 0, 3600)
    avatars_max: int = _help(500, "most avatars that may be enrolled", 1, 1_000_000)
    avatars_ready: int = _help(32, "most avatars in memory; one of mini takes 25 MB", 1, 1_000_000)
    slots: int = _help(0, "sessions at a time; 0 measures what this machine can carry", 0, 10_000)
    grace_s: float = _help(9.0, "how long a session stays open without a peer", 0.5, 3600)
    return_s: float = _help(20.0, "the same when its network failed; the slot is free", 0.5, 3600)
    drain_s: float = _help(30.0, "how long a shutdown waits for running sessions", 0, 3600)
    ice_servers: tuple[str, ...] = _help((), "stun: and turn: URLs for both sides, comma-separated")
    udp_ports: str = _help("", "UDP ports for media, as 40000-40100; empty is any free one")
    udp_bind: tuple[str, ...] = _help((), "this machine's addresses for media; empty is all")
    udp_announced: tuple[str, ...] = _help((), "addresses to tell clients instead, behind NAT")
    turn_user: str = _help("", "TURN user name, for fixed credentials")
    turn_password: str = _help("", "TURN password, for fixed credentials")
    turn_secret: str = _help("", "coturn static-auth-secret, for credentials that expire")
    public_url: str = _help("", "URL that clients reach this server by, behind a proxy")
    origins: tuple[str, ...] = _help((), "other origins that may call from a page; * is any")
    video_codecs: tuple[str, ...] = _help(CODECS, "video codecs by preference")
    bitrate_start: int = _help(1_000_000, "video bitrate to begin with, bits per second")
    bitrate_min: int = _help(40_000, "lowest video bitrate")
    bitrate_max: int = _help(3_000_000, "highest video bitrate")
    delay_min_ms: int = _help(150, "least playout delay")
    delay_max_ms: int = _help(450, "greatest playout delay")
    backlog_s: float = _help(300.0, "how much speech of a WHIP feeder may wait", 1, 600)
    threads: int = _help(2, "threads that decode and encode media", 1, 64)
    log_level: str = _help("info", "debug, info, warning or error")
    log_json: bool = _help(False, "one JSON object a line")
    # The voice that reads text; a service is OpenAI-compatible, its URL as https://host/v1.
    voice: str = _help("", "default voice; empty is the service's, else what is installed")
    voice_url: str = _help("", "service that reads text aloud (/audio/speech)")
    voice_key: str = _help("", "its key")
    voice_model: str = _help("tts-1", "its model")
    # Who may use it.
    keys: str = _help("~/.local/share/continuum/keys.sqlite", "API keys; see `continuum key`")
    token_secret: str = _help("", "signs tokens for browsers; empty is a new one at each start")
    audience: str = _help("continuum", "what tokens are for; the same on all servers of a group")
    token_ttl_s: int = _help(900, "longest life of a token for browsers", 10, 86_400)
    tls_cert: str = _help("", "certificate chain in PEM: serve https by ourselves")
    tls_key: str = _help("", "its private key in PEM")
    proxies: tuple[str, ...] = _help((), "networks whose X-Forwarded-For is believed")
    # What is too much. 0 is no limit, where a limit can be lifted.
    address_rate: float = _help(20.0, "requests a second from one address, with keys", 0, 1_000_000)
    address_burst: int = _help(200, "requests at once from one address", 1, 1_000_000)
    key_rate: float = _help(50.0, "requests a second with one key", 0, 1_000_000)
    key_burst: int = _help(200, "requests at once with one key", 1, 1_000_000)
    failures_per_minute: int = _help(10, "wrong keys a minute from one address", 0, 1_000_000)
    sessions_per_key: int = _help(0, "sessions at a time with one key", 0, 1_000_000)
    waiting_per_client: int = _help(0, "sessions not joined; 0 leaves one slot free", 0, 1_000_000)
    session_max_s: float = _help(21_600.0, "longest session", 0, 31_536_000)
    session_idle_s: float = _help(900.0, "longest silence before a session ends", 0, 31_536_000)
    message_rate: float = _help(20.0, "messages a second on a data channel", 1, 10_000)
    message_burst: int = _help(40, "messages at once on a data channel", 1, 100_000)
    sdp_bytes: int = _help(65_536, "largest SDP offer or trickle fragment", 4096, 1_048_576)
    json_bytes: int = _help(16_384, "largest JSON body", 1024, 1_048_576)
    picture_bytes: int = _help(33_554_432, "largest picture file", 65_536, 268_435_456)
    picture_pixels: int = _help(40_000_000, "most pixels of a picture", 16_384, 400_000_000)
    picture_s: float = _help(15.0, "longest a picture may take to decode", 0.5, 600)
    picture_mb: int = _help(1536, "memory that decoding a picture may take", 256, 65_536)
    # How what is generated is marked.
    label: str = _help("AI", "the mark in every picture")
    label_place: str = _help("top-right", "its corner: " + ", ".join(PLACES))
    label_style: str = _help("dark", "its look: " + ", ".join(STYLES))
    label_removed: str = _help("", "an operator's declaration why pictures go unmarked; audited")
    recordings: str = _help("", "folder for recordings of sessions; empty is none")
    c2pa_cert: str = _help("", "certificate chain in PEM that signs files; empty makes one")
    c2pa_key: str = _help("", "its private key in PEM")

    def __post_init__(self) -> None:
        self._within()
        self._ordered("bitrate_min", "bitrate_start", "bitrate_max")
        self._ordered("delay_min_ms", "delay_max_ms")
        self._one_of("log_level", (self.log_level,), ("debug", "info", "warning", "error"))
        self._one_of("video_codecs", self.video_codecs, CODECS)
        self._one_of("recipe", (self.recipe,), ("continuum", "published"))
        self._one_of("label_place", (self.label_place,), PLACES)
        self._one_of("label_style", (self.label_style,), STYLES)
        self._together("tls_cert", "tls_key")
        self._together("c2pa_cert", "c2pa_key")
        self._token_secret()
        self._networks()
        self._ice()
        self._url("public_url", "https://example.net/avatar")
        self._url("voice_url", "https://example.net/v1")
        self._udp()

    def bounds(self) -> tuple[float, int, int, int]:
        """What decoding a stranger's picture may take: seconds, MB, pixels, bytes."""
        return self.picture_s, self.picture_mb, self.picture_pixels, self.picture_bytes

    def _within(self) -> None:
        for item in fields(self):
            low, high = item.metadata["low"], item.metadata["high"]
            value = getattr(self, item.name)
            if low is not None and not low <= value <= high:
                raise SettingsError(f"{item.name} must be between {low} and {high}, not {value}")

    def _ordered(self, *names: str) -> None:
        values = [getattr(self, name) for name in names]
        if values[0] <= 0 or values != sorted(values):
            shown = " <= ".join(f"{n} {v}" for n, v in zip(names, values, strict=True))
            raise SettingsError(f"must be positive and in this order: {shown}")

    def _one_of(self, name: str, given: Sequence[str], allowed: Sequence[str]) -> None:
        for value in given:
            if value not in allowed:
                raise SettingsError(f"{name} must be among {', '.join(allowed)}, not {value!r}")

    def _together(self, one: str, other: str) -> None:
        if bool(getattr(self, one)) != bool(getattr(self, other)):
            missing = other if getattr(self, one) else one
            raise SettingsError(f"{one} and {other} belong together: {missing} is missing")

    def _token_secret(self) -> None:
        if 0 < len(self.token_secret) < 32:
            count = len(self.token_secret)
            why = f"needs 32 characters or more, not {count}: openssl rand -hex 32"
            raise SettingsError(f"token_secret {why}")

    def _networks(self) -> None:
        for network in self.proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as failure:
                raise SettingsError(f"proxies holds networks as 10.0.0.0/8: {failure}") from failure

    def _ice(self) -> None:
        for url in self.ice_servers:
            if not url.startswith(("stun:", "turn:", "turns:")):
                raise SettingsError(f"ice_servers holds stun:, turn: and turns: URLs, not {url!r}")

    def udp_range(self) -> tuple[int, int] | None:
        """First and last UDP port for media; None is any."""
        if not self.udp_ports:
            return None
        match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", self.udp_ports)
        first, last = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 0 < first <= last < 65_536:
            raise SettingsError(
                "udp_ports is the first and the last port, such as 40000-40100, not"
                f" {self.udp_ports!r}"
            )
        return first, last

    def _udp(self) -> None:
        self.udp_range()
        for name in ("udp_bind", "udp_announced"):
            for address in getattr(self, name):
                try:
                    usable = not ipaddress.ip_address(address).is_unspecified
                except ValueError:
                    usable = False
                if not usable:
                    raise SettingsError(f"{name} holds IP addresses one by one, not {address!r}")
        bound = {ipaddress.ip_address(address).version for address in self.udp_bind}
        for address in self.udp_announced:
            version = ipaddress.ip_address(address).version
            if bound and version not in bound:
                raise SettingsError(
                    f"udp_announced has {address}, but udp_bind has no IPv{version} address"
                )

    def _url(self, name: str, example: str) -> None:
        value = getattr(self, name)
        parts = urlsplit(value)
        told = parts.scheme in ("http", "https") and parts.netloc
        if value and (not told or parts.query or parts.fragment):
            raise SettingsError(f"{name} is a URL such as {example}, not {value!r}")

    def toml(self) -> str:
        """These settings as a file that ``--config`` reads. Secrets are left out."""
        rows = []
        for item in fields(self):
            value = getattr(self, item.name)
            secret = item.name in SECRETS and value
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
    flags = {name: value for name, value in given.items() if value is not None}
    _refuse_bare_secrets(flags)
    variables = _environment(os.environ if environ is None else environ)
    merged = (_file(path) if path else {}) | variables | flags
    merged.update({name: _secret(name, merged[name]) for name in SECRETS if name in merged})
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


def _cast(name: str, value: Any, kind: Any) -> Any:
    cast, wanted = CASTS[kind]
    try:
        return cast(value)
    except (LookupError, TypeError, ValueError) as failure:
        raise SettingsError(f"{name} must be {wanted}, not {value!r}") from failure


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


def _truth(value: Any) -> bool:
    return TRUTHS[str(value).lower()]


def _strings(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(text for part in parts if (text := _text(part).strip()))


CASTS: Final[dict[Any, tuple[Callable[[Any], Any], str]]] = {
    str: (_text, "text"),
    int: (_whole, "a whole number"),
    float: (_number, "a number"),
    bool: (_truth, "true or false"),
    tuple[str, ...]: (_strings, "a list, separated by commas"),
}
