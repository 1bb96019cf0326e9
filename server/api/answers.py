"""What answers hold, as JSON. ``/openapi.json`` is made from these types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.consent import Kind, Outcome, Scope


@dataclass(frozen=True, slots=True)
class Problem:
    """RFC 9457. Some problems have more members, such as ``code``."""

    type: str
    title: str
    status: int
    detail: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Avatar:
    """Somebody who can be called; ``synthetic`` where the person does not exist."""

    id: str
    name: str
    description: str
    picture: str
    ai_generated: bool
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Avatars:
    """Every avatar on offer."""

    avatars: list[Avatar]


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that reads text; ``natural`` is false for a synthesizer that sounds like one."""

    name: str
    language: str
    natural: bool


@dataclass(frozen=True, slots=True)
class Voices:
    """Every voice, the default first; ``notice`` says which that is and why, or what is missing."""

    voices: list[Voice]
    notice: str


@dataclass(frozen=True, slots=True)
class Answering:
    """Whether sessions can answer what is typed, and what is said; ``notice`` says what is
    missing."""

    text: bool
    speech: bool
    notice: str


@dataclass(frozen=True, slots=True)
class SessionMade:
    """A session, its token, and where peers join it."""

    id: str
    token: str
    avatar: str
    call: str
    whip: str
    whep: str
    speech: str
    events: str = "events"


@dataclass(frozen=True, slots=True)
class PeerState:
    """One peer of a session."""

    id: str
    role: str
    connected: bool


@dataclass(frozen=True, slots=True)
class Intake:
    """Speech as it came; samples at 48 kHz."""

    packets: int
    late_samples: int
    dropped_samples: int
    concealed_samples: int
    backlog_s: float


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session now. ``quality`` is that of the data channel, empty before the first second."""

    id: str
    avatar: str
    state: str
    media_time: int
    measure: bool
    peers: list[PeerState]
    intake: Intake
    delay_ms: float
    quality: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A running session. ``worker`` is empty in a server by itself."""

    id: str
    avatar: str
    state: str
    media_time: int
    worker: str


@dataclass(frozen=True, slots=True)
class SessionList:
    """Running sessions."""

    sessions: list[SessionRow]


@dataclass(frozen=True, slots=True)
class UtteranceFinished:
    """How an utterance ended, and how much of it was played to the peers."""

    media_time: int
    position_ms: int
    interrupted: bool
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance that was accepted whole; ``finished`` is null unless that was waited for."""

    id: str
    received_ms: int
    finished: UtteranceFinished | None


@dataclass(frozen=True, slots=True)
class Done:
    """What has ended."""

    status: str


@dataclass(frozen=True, slots=True)
class Token:
    """For one of an application's users."""

    token: str
    expires_at: int
    origin: str
    avatar: str


@dataclass(frozen=True, slots=True)
class RecordingNow:
    """A recording in progress."""

    id: str
    seconds: float
    pictures: int
    left_out: int
    state: str


@dataclass(frozen=True, slots=True)
class PushNow:
    """A push: connecting, live, retrying or failed; ``url`` is scheme and host alone."""

    id: str
    url: str
    state: str
    tries: int
    problem: str


@dataclass(frozen=True, slots=True)
class PushList:
    """The pushes of a session, the oldest first."""

    pushes: list[PushNow]


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """A recording that has ended; ``file`` is null when nothing was recorded."""

    id: str
    seconds: float
    pictures: int
    left_out: int
    state: str
    file: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording on file."""

    id: str
    session: str
    avatar: str
    began_at: float
    state: str
    bytes: int
    file: str


@dataclass(frozen=True, slots=True)
class Recordings:
    """Recordings, newest first."""

    recordings: list[Recording]


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent record; times are seconds since the epoch."""

    id: str
    subject: str
    kind: Kind
    statement: str
    image_sha256: str
    scopes: list[Scope]
    verified_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    captured_at: float | None
    adult: bool
    birth_year: int | None
    estimated_age: float | None
    territory: str
    challenge: str
    evidence_sha256: str
    checks: dict[str, Outcome]
    signature: str
    erased_at: float | None
    digest: str
    standing: str


@dataclass(frozen=True, slots=True)
class Consents:
    """Consent records."""

    consents: list[Consent]


@dataclass(frozen=True, slots=True)
class Challenge:
    """A code for a subject to say."""

    code: str
    subject: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AuditEntries:
    """Entries of the audit log, oldest first."""

    entries: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Slots:
    """Sessions that may run, and that do."""

    total: int
    taken: int


@dataclass(frozen=True, slots=True)
class Health:
    """What runs, on which device, and why."""

    status: str
    problem: str | None
    tasks: dict[str, Any]
    registry: str
    version: str
    door: str
    slots: Slots
    model: dict[str, Any]
    cost_ms: dict[str, float] | None
    quality_level: int
    h264: dict[str, str]
    workers: list[dict[str, Any]]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ready:
    """Sessions are let in."""

    status: str
    slots: int
