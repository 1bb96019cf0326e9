"""What requests hold: queries, JSON objects and forms. Descriptions complete "FIELD must be ...".

Validation (``validation.py``) and ``/openapi.json`` are made from these types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, Strict, WithJsonSchema

from pipeline.consent import Kind, Outcome, Scope
from pipeline.interface import MOST_GESTURE
from server.rtc.data_channel import MAX_ID, MAX_PROMPT, MAX_TEXT
from server.sessions.framing import BACKGROUNDS, SIZE_NAMES, check_background, check_size
from server.speech.resampling import LEAST, MOST

MAX_PAGE: Final = 1000
MAX_SEED: Final = 2**31 - 1
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Switch = Annotated[bool, Strict()]
Text = InstanceOf[str]  # any at all, also with halves of characters: who reads it refuses those
File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
MAX_RESUME: Final = 8192
_SECONDS: Final = "seconds since the epoch, from 0 to 1e12"


@dataclass(frozen=True, slots=True)
class NewSession:
    """Which avatar is called, and how."""

    avatar: Annotated[
        str, Field(min_length=1, description="the id of an avatar; GET /v1/avatars lists them")
    ]
    prompt: Annotated[
        str,
        Field(max_length=MAX_PROMPT, description=f"text of at most {MAX_PROMPT} characters"),
    ] = ""
    seed: Annotated[
        Whole, Field(ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}")
    ] = 0
    measure: Annotated[Switch, Field(description="true or false (in a query also 1 or 0)")] = False
    listen: Annotated[Switch, Field(description="true or false (in a query also 1 or 0)")] = False
    answers: Annotated[Switch, Field(description="true or false (in a query also 1 or 0)")] = False
    size: Annotated[str, AfterValidator(check_size), Field(description=SIZE_NAMES)] = ""
    background: Annotated[str, AfterValidator(check_background), Field(description=BACKGROUNDS)] = (
        ""
    )
    resume: Annotated[
        str, Field(max_length=MAX_RESUME, description="the token of a session that has moved")
    ] = ""
    gesture: Annotated[
        Number,
        Field(ge=0, le=MOST_GESTURE, allow_inf_nan=False,
              description=f"a number from 0 to {MOST_GESTURE}"),
    ] = 1.0  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewPush:
    """Where a session is sent; ``token`` is WHIP's bearer token or RTMP's stream key."""

    url: Annotated[str, Field(max_length=2000, description="an https:, rtmp: or rtmps: address")]
    token: Annotated[str, Field(max_length=2000, description="text, or empty")] = ""


Id = Annotated[str, Field(max_length=MAX_ID, description=f"text of at most {MAX_ID} characters")]
Words = Annotated[
    str, Field(max_length=MAX_PROMPT, description=f"text of at most {MAX_PROMPT} characters")
]


@dataclass(frozen=True, slots=True)
class NewText:
    """What an avatar says, and how."""

    text: Annotated[
        str,
        Field(
            min_length=1, max_length=MAX_TEXT, description=f"1 to {MAX_TEXT} characters to be said"
        ),
    ]
    id: Id = ""
    voice: Id = ""
    style: Words = ""


@dataclass(frozen=True, slots=True)
class SpeechQuery:
    """The name and style of an utterance, and whether the answer waits for its end."""

    id: Id = ""
    style: Words = ""
    wait: Annotated[Switch, Field(description="1 or 0: whether to answer at its end")] = False


@dataclass(frozen=True, slots=True)
class Cue:
    """A named place of an utterance."""

    at_ms: Annotated[Whole, Field(ge=0, le=86_400_000, description="a number of milliseconds")]
    name: Annotated[Id, Field(description=f"text of at most {MAX_ID} characters")]


@dataclass(frozen=True, slots=True)
class BeginUtterance:
    """An utterance whose sound follows."""

    id: Id = ""
    style: Words = ""
    sample_rate: Annotated[
        Whole, Field(ge=LEAST, le=MOST, description=f"a whole number from {LEAST} to {MOST}")
    ] = 48_000
    cues: Annotated[
        tuple[Cue, ...], Field(max_length=64, description="at most 64 of {at_ms, name}")
    ] = ()


@dataclass(frozen=True, slots=True)
class NewToken:
    """Whom a token is for. The server's settings bound ``ttl_s``."""

    origin: Annotated[str, Field(description="a page's scheme and host: https://shop.example")]
    avatar: Annotated[str, Field(description="the id of the one avatar it may call, or empty")] = ""
    ttl_s: Annotated[
        Whole | None, Field(description="a whole number of seconds, 300 unless it is given")
    ] = None


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """Who has to say a code."""

    subject: Annotated[Text, Field(description="the name of whom the code is for")]
    lifetime_s: Annotated[Number, Field(description="a number of seconds")] = 3600.0


@dataclass(frozen=True, slots=True)
class CheckOutcomes:
    """How checks of the evidence ended, and who made them."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    by: Annotated[Text, Field(description="the name of whoever checked")]
    transcript: Annotated[
        Outcome | None, Field(description="passed, failed or not_done: the words said")
    ] = None
    face: Annotated[
        Outcome | None, Field(description="passed, failed or not_done: the face shown")
    ] = None
    voice: Annotated[
        Outcome | None, Field(description="passed, failed or not_done: the voice heard")
    ] = None


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A consent record as an operator writes it."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    kind: Annotated[Kind, Field(description=f"one of {', '.join(Kind)}")]
    subject: Annotated[Text, Field(description="the name of who is shown")] = ""
    statement: Annotated[Text, Field(description="what they agreed to, in their words")] = ""
    scopes: Annotated[tuple[Scope, ...], Field(description=f"a list of {', '.join(Scope)}")] = (
        Scope.LIVE,
        Scope.RECORDING,
    )
    verified_by: Annotated[Text, Field(description="the name of whoever checked it")] = ""
    territory: Annotated[Text, Field(description="country codes such as DE,AT, or empty")] = ""
    challenge: Annotated[Text, Field(description="the code that was said, or empty")] = ""
    expires_at: Annotated[Number | None, Field(description="seconds since the epoch")] = None
    captured_at: Annotated[Number | None, Field(description="seconds since the epoch")] = None
    adult: Annotated[Switch, Field(description="true or false")] = False
    birth_year: Annotated[Whole | None, Field(description="a year, as a whole number")] = None


@dataclass(frozen=True, slots=True)
class ConsentQuery:
    """Whose records are listed."""

    subject: Annotated[str, Field(description="the name of who is shown")] = ""
    image_sha256: Annotated[str, Field(description="the SHA-256 of a picture")] = ""


@dataclass(frozen=True, slots=True)
class RevocationQuery:
    """Why consent ends."""

    reason: Annotated[str, Field(description="text, of which 500 characters are kept")] = ""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which audit entries are asked for; empty fields ask nothing."""

    action: Annotated[
        str, Field(description="an action such as consent.revoked, or a family such as consent")
    ] = ""
    actor: Annotated[str, Field(description="who did it")] = ""
    consent_id: Annotated[str, Field(description="the id of a record")] = ""
    avatar: Annotated[str, Field(description="the id of an avatar")] = ""
    session: Annotated[str, Field(description="the id of a session")] = ""
    since: Annotated[
        Number | None, Field(ge=0, lt=1e12, allow_inf_nan=False, description=_SECONDS)
    ] = None
    until: Annotated[
        Number | None, Field(ge=0, lt=1e12, allow_inf_nan=False, description=_SECONDS)
    ] = None
    after: Annotated[
        Whole, Field(ge=0, lt=10**12, description="the number of an entry, a whole number")
    ] = 0
    limit: Annotated[
        Whole, Field(ge=1, le=MAX_PAGE, description=f"a whole number from 1 to {MAX_PAGE}")
    ] = 100
    format: Annotated[str, Field(description="jsonl for every entry, a line each")] = ""


@dataclass(frozen=True, slots=True)
class RecordingQuery:
    """Which recordings are listed."""

    session: Annotated[str, Field(description="the id of a session")] = ""
    limit: Annotated[
        Whole, Field(ge=1, le=MAX_PAGE, description=f"a whole number from 1 to {MAX_PAGE}")
    ] = 100


@dataclass(frozen=True, slots=True)
class PictureForm:
    """A picture of one's own, its landmarks, and perhaps the id of a consent record."""

    picture: File
    landmarks: Annotated[
        bytes, WithJsonSchema({"type": "string", "contentMediaType": "application/json"})
    ]
    id: str = ""
    name: str = ""
    consent: str = ""


@dataclass(frozen=True, slots=True)
class ConsentForm:
    """A record, its picture, and perhaps evidence or a signed challenge."""

    record: Annotated[
        bytes, WithJsonSchema({"type": "string", "contentMediaType": "application/json"})
    ]
    picture: File
    evidence: File | None = None
    signature: Annotated[str, Field(description="64 bytes in hex")] = ""
    subject_key: Annotated[bytes, WithJsonSchema({"type": "string"})] = b""
