"""Everything that can be configured: each setting's default, its help and its limits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Final

from server.settings import checks

CODECS: Final = ("video/VP8", "video/H264")
SECRETS: Final = (
    "turn_password",
    "turn_secret",
    "token_secret",
    "voice_key",
    "chat_key",
    "transcribe_key",
)
PLACES: Final = ("top-left", "top-right", "bottom-left", "bottom-right")
STYLES: Final = ("dark", "light", "outline")
LEVELS: Final = ("debug", "info", "warning", "error")


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
    avatars_warm: str = _help("bundled", "prepared before the first call: default, bundled, all")
    slots: int = _help(0, "sessions at a time; 0 measures what this machine can carry", 0, 10_000)
    cores: int = _help(0, "processors that one process may use; 0 is all, in a cluster 2", 0, 4096)
    # Many machines: docs/cluster.md.
    cluster: str = _help("", "Ray cluster: auto or its address; empty is this process alone")
    workers: int = _help(0, "workers; 0 is as many as GPUs, or processors, suffice for", 0, 100_000)
    spare_slots: int = _help(0, "free slots below which a cluster asks for a worker", 0, 100_000)
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
    # What the avatar answers, and how speech is recognised; services as above.
    chat_url: str = _help("", "service that answers (/chat/completions)")
    chat_key: str = _help("", "its key")
    chat_model: str = _help("gpt-4o-mini", "its model")
    chat_prompt: str = _help("", "who the avatar is and what it knows, for that model")
    transcribe_url: str = _help("", "service that recognises speech (/audio/transcriptions)")
    transcribe_key: str = _help("", "its key")
    transcribe_model: str = _help("whisper-1", "its model")
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
    push_hosts: tuple[str, ...] = _help((), "hosts that sessions may be sent to; * is any")
    recordings: str = _help("", "folder for recordings of sessions; empty is none")
    c2pa_cert: str = _help("", "certificate chain in PEM that signs files; empty makes one")
    c2pa_key: str = _help("", "its private key in PEM")

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = item.metadata["low"], item.metadata["high"]
            checks.within(item.name, getattr(self, item.name), low, high)
        checks.in_order(
            bitrate_min=self.bitrate_min,
            bitrate_start=self.bitrate_start,
            bitrate_max=self.bitrate_max,
        )
        checks.in_order(delay_min_ms=self.delay_min_ms, delay_max_ms=self.delay_max_ms)
        checks.among("log_level", (self.log_level,), LEVELS)
        checks.among("video_codecs", self.video_codecs, CODECS)
        checks.among("avatars_warm", (self.avatars_warm,), ("default", "bundled", "all"))
        checks.among("recipe", (self.recipe,), ("continuum", "published"))
        checks.among("label_place", (self.label_place,), PLACES)
        checks.among("label_style", (self.label_style,), STYLES)
        checks.together(tls_cert=self.tls_cert, tls_key=self.tls_key)
        checks.together(c2pa_cert=self.c2pa_cert, c2pa_key=self.c2pa_key)
        checks.signing_secret("token_secret", self.token_secret)
        checks.networks("proxies", self.proxies)
        checks.ice_urls("ice_servers", self.ice_servers)
        checks.web_url("public_url", self.public_url, "https://example.net/avatar")
        for name in ("voice_url", "chat_url", "transcribe_url"):
            checks.web_url(name, getattr(self, name), "https://example.net/v1")
        if self.cluster and self.recordings:
            raise checks.SettingsError("a cluster keeps no recordings: leave out one of both")
        self.udp_range()
        checks.addresses("udp_bind", self.udp_bind)
        checks.addresses("udp_announced", self.udp_announced)
        checks.announced(self.udp_bind, self.udp_announced)

    def bounds(self) -> tuple[float, int, int, int]:
        """What decoding a stranger's picture may take: seconds, MB, pixels, bytes."""
        return self.picture_s, self.picture_mb, self.picture_pixels, self.picture_bytes

    def udp_range(self) -> tuple[int, int] | None:
        """First and last UDP port for media; None is any."""
        return checks.port_range("udp_ports", self.udp_ports)

    def toml(self) -> str:
        """These settings as a file that ``--config`` reads. Secrets are left out."""
        rows = []
        for item in fields(self):
            value = getattr(self, item.name)
            secret = item.name in SECRETS and value
            shown = '""  # set, not shown' if secret else json.dumps(value, ensure_ascii=False)
            rows.append(f"{item.name} = {shown}")
        return "\n".join(rows) + "\n"
