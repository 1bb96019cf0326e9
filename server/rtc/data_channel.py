"""Messages of the ``events`` data channel: parse incoming, build outgoing. Pure.

The contract is docs/protocol.md, section 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NoReturn

from pipeline.interface import MOST_GESTURE, Cue

MAX_BYTES = 4096
MAX_PROMPT = 500
MAX_ID = 64
MAX_TEXT = 4000
MAX_TIME = 2**53  # of a number in JSON
MAX_REFUSED = 200


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Drop everything not yet played."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The style of speaking from now on."""

    text: str


@dataclass(frozen=True, slots=True)
class Gesture:
    """How much the body moves from now on."""

    scale: float


@dataclass(frozen=True, slots=True)
class Mute:
    """Use silence instead of the audio, or end that."""

    muted: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence, and nothing is lost."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on where a pause has stopped."""


@dataclass(frozen=True, slots=True)
class Say:
    """A text to be spoken after what waits."""

    text: str
    id: str = ""
    voice: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to a session that answers."""

    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a pong with the same id."""

    id: int | float | str | None


Command = Interrupt | Pause | Resume | Prompt | Gesture | Cue | Mute | Say | Ask | Ping
PLAIN: Mapping[str, Command] = {
    "interrupt": Interrupt(),
    "clear": Interrupt(),
    "pause": Pause(),
    "resume": Resume(),
}


class Refused(ValueError):
    """A message that gets an ``error`` back; ``code`` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(message: str | bytes) -> Command:
    """One message from a client. Raises ``Refused``."""
    return command(parse_object(message))


def command(fields: dict[str, object], also: str = "") -> Command:
    """A message's fields as what they order. Raises ``Refused``, which names the types that the
    door takes ``also``."""
    kind = fields.get("type")
    if isinstance(kind, str) and kind in PLAIN:
        return PLAIN[kind]
    if kind == "say":
        return _say(fields)
    if kind == "ask":
        return Ask(_words(fields, "text", MAX_TEXT, needed=True))
    if kind == "prompt":
        return Prompt(_words(fields, "text", MAX_PROMPT, needed=True))
    if kind == "gesture":
        return Gesture(_scale(fields))
    if kind == "cue":
        return _cue(fields)
    if kind == "mute":
        return Mute(_flag(fields))
    if kind == "ping":
        return Ping(_id(fields))
    kinds = (
        f"{also}clear (or interrupt), pause, resume, say, ask, prompt, gesture, cue, mute or ping"
    )
    raise Refused("unknown_type", f"type must be {kinds}, not {kind!r:.60}")


def build(kind: str, **fields: object) -> str:
    """One message to a client."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False)


def shifted(message: str, since: int) -> str:
    """An event whose ``media_time``, if it has one, counts from so many samples earlier."""
    if not since:
        return message
    fields = json.loads(message)
    if isinstance(fields.get("media_time"), int):
        fields["media_time"] += since
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def error(code: str, message: str, retryable: bool = False, **more: object) -> str:
    """An ``error`` message."""
    return build("error", code=code, message=message, retryable=retryable, **more)


def parse_object(message: str | bytes, most: int = MAX_BYTES) -> dict[str, object]:
    """A message of up to ``most`` bytes as its fields. Raises ``Refused``."""
    raw = message.encode("utf-8", "replace") if isinstance(message, str) else message
    if len(raw) > most:
        raise Refused("too_large", f"a message has at most {most} bytes, not {len(raw)}")
    try:
        fields = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as failure:
        raise Refused("bad_json", f"a message is one JSON object: {failure}") from failure
    if not isinstance(fields, dict):
        raise Refused("bad_json", f"a message is one JSON object, not {type(fields).__name__}")
    return fields


def _say(fields: dict[str, object]) -> Say:
    return Say(
        _words(fields, "text", MAX_TEXT, needed=True),
        _words(fields, "id", MAX_ID),
        _words(fields, "voice", MAX_ID),
        _words(fields, "style", MAX_PROMPT),
    )


def _scale(fields: dict[str, object]) -> float:
    scale = fields.get("scale")
    real = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not real or not 0.0 <= scale <= MOST_GESTURE:  # type: ignore[operator]
        raise Refused("bad_message", f"gesture needs a number 'scale' from 0 to {MOST_GESTURE}")
    return float(scale)  # type: ignore[arg-type]


def _cue(fields: dict[str, object]) -> Cue:
    at = fields.get("at", 0)
    if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at <= MAX_TIME:
        raise Refused("bad_message", "'at' of cue is a media time: a whole number of samples")
    try:
        return Cue(_words(fields, "gesture", MAX_ID), _words(fields, "emotion", MAX_ID), at)
    except ValueError as failure:
        raise Refused("bad_message", f"cue: {failure}") from failure


def _words(fields: dict[str, object], name: str, most: int, needed: bool = False) -> str:
    """A field that is text of at most ``most`` characters. Raises ``Refused``."""
    kind, text = fields.get("type"), fields.get(name, None if needed else "")
    if not isinstance(text, str):
        raise Refused("bad_message", f"{kind} needs a string {name!r}")
    if len(text) > most:
        raise Refused(
            "bad_message", f"{name!r} of {kind} has at most {most} characters, not {len(text)}"
        )
    if not is_text(text):
        raise Refused("bad_message", f"{name!r} of {kind} has no halves of characters")
    return text


def is_text(text: str) -> bool:
    """Whether it can be sent on: JSON may hold halves of characters, which no encoding has."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _flag(fields: dict[str, object]) -> bool:
    muted = fields.get("muted")
    if not isinstance(muted, bool):
        raise Refused("bad_message", "mute needs a boolean 'muted'")
    return muted


def _id(fields: dict[str, object]) -> int | float | str | None:
    value = fields.get("id")
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise Refused("bad_message", "ping's 'id' is a number or a string")
    if isinstance(value, str) and len(value) > MAX_ID:
        raise Refused("bad_message", f"ping's 'id' has at most {MAX_ID} characters")
    endless = isinstance(value, float) and not isfinite(value)
    if endless or (isinstance(value, str) and not is_text(value)):
        raise Refused("bad_message", "ping's 'id' cannot be sent back: no number, or no text")
    return value
