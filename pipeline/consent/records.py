"""Consent records: who agreed, to what, for which picture, until when, and how it was verified.

A record of a person who does not exist says so (``Kind.SYNTHETIC``) and is treated like any other.
Records are values; ``registry`` stores them, ``validator`` judges them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

from pipeline.errors import ConsentInvalid

DAY_S: Final = 24 * 3600.0
ADULT_AGE: Final = 18
_LATEST: Final = 253_402_300_800.0  # 10000-01-01
_OLDEST: Final = 130  # years; a birth year before that is a slip of the pen


class Kind(StrEnum):
    """Whose face it is."""

    SELF = "self"
    THIRD_PARTY = "third_party"
    LICENSED = "licensed"
    SYNTHETIC = "synthetic"


class Scope(StrEnum):
    """What the face may be used for."""

    LIVE = "live"
    RECORDING = "recording"
    PUBLICATION = "publication"
    DUBBING = "dubbing"  # other words in footage of the person


class Outcome(StrEnum):
    """How a check of the evidence ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_DONE = "not_done"


@dataclass(frozen=True, slots=True)
class Checks:
    """What was compared: the words said, the face shown, the voice heard."""

    transcript: Outcome = Outcome.NOT_DONE
    face: Outcome = Outcome.NOT_DONE
    voice: Outcome = Outcome.NOT_DONE

    def named(self) -> dict[str, Outcome]:
        """Outcomes by the name of their check."""
        return {"transcript": self.transcript, "face": self.face, "voice": self.voice}


CHECKS: Final = tuple(Checks().named())


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One agreement. Times are seconds since the epoch; ``expires_at`` None means no end.

    ``territory`` lists country codes, "" is everywhere. ``fingerprint`` is that of the picture.
    ``signature`` is the operator's over ``canonical``: of everything but what happens later.
    """

    id: str
    subject: str
    kind: Kind
    statement: str
    image_sha256: str
    scopes: frozenset[Scope]
    verified_by: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    captured_at: float | None = None
    adult: bool = False
    birth_year: int | None = None
    estimated_age: float | None = None
    territory: str = ""
    challenge: str = ""
    evidence_sha256: str = ""
    checks: Checks = field(default=Checks())
    fingerprint: bytes = field(default=b"", repr=False)
    signature: bytes = field(default=b"", repr=False, compare=False)
    erased_at: float | None = None

    def __post_init__(self) -> None:
        for name in ("id", "subject", "statement", "verified_by"):
            if not getattr(self, name).strip():
                raise ConsentInvalid(f"a consent record needs a {name}, got an empty one")
        _check_hash(self.image_sha256)
        if self.evidence_sha256:
            _check_hash(self.evidence_sha256)
        if not self.scopes:
            raise ConsentInvalid(f"a consent record needs a scope of {', '.join(Scope)}")
        for name in ("created_at", "expires_at", "captured_at"):
            _check_time(name, getattr(self, name))
        if self.expires_at is not None and self.expires_at <= self.created_at:
            raise ConsentInvalid(
                f"expires_at {self.expires_at:.0f} is not after created_at {self.created_at:.0f}"
            )
        self._check_birth_year()
        for code in filter(None, self.territory.split(",")):
            if len(code) != 2 or not code.isascii() or not code.isupper():
                raise ConsentInvalid(f"a territory is country codes as in DE,AT, not {code!r}")

    def _check_birth_year(self) -> None:
        year = time.gmtime(self.created_at).tm_year
        if self.birth_year is not None and not year - _OLDEST <= self.birth_year <= year:
            raise ConsentInvalid(f"birth year {self.birth_year} is not within {_OLDEST} of {year}")

    def consent_sha256(self) -> str:
        """SHA-256 of the signed form; a later revocation does not change it."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The signed form: JSON with sorted keys, times in whole milliseconds, UTF-8."""
        content = {
            "id": self.id,
            "subject": self.subject,
            "kind": str(self.kind),
            "statement": self.statement,
            "image_sha256": self.image_sha256,
            "fingerprint_sha256": sha256_of(self.fingerprint),
            "scopes": sorted(self.scopes),
            "territory": self.territory,
            "verified_by": self.verified_by,
            "checks": self.checks.named(),
            "adult": self.adult,
            "birth_year": self.birth_year,
            "estimated_age": None if self.estimated_age is None else f"{self.estimated_age:.1f}",
            "challenge": self.challenge,
            "evidence_sha256": self.evidence_sha256,
            "captured_at": _milliseconds(self.captured_at),
            "created_at": _milliseconds(self.created_at),
            "expires_at": _milliseconds(self.expires_at),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the signed form: what marks and manifests name a record by."""
        return sha256_of(self.canonical())

    def standing(self, now: float) -> str:
        """``live``, ``revoked`` or ``expired``, for people."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "live"


def new_record(
    *,
    subject: str,
    kind: Kind,
    statement: str,
    image_sha256: str,
    scopes: Iterable[Scope] = tuple(Scope),
    verified_by: str = "operator",
    expires_at: float | None = None,
    now: float | None = None,
    adult: bool = False,
    birth_year: int | None = None,
    territory: str = "",
    challenge: str = "",
    captured_at: float | None = None,
    fingerprint: bytes = b"",
) -> ConsentRecord:
    """A record with a fresh, unguessable id; ``ConsentInvalid`` says what is missing."""
    return ConsentRecord(
        id=f"c-{secrets.token_hex(8)}",
        subject=subject,
        kind=kind,
        statement=statement,
        image_sha256=image_sha256,
        scopes=frozenset(scopes),
        verified_by=verified_by,
        created_at=time.time() if now is None else now,
        expires_at=expires_at,
        adult=adult,
        birth_year=birth_year,
        territory=territory,
        challenge=challenge,
        captured_at=captured_at,
        fingerprint=fingerprint,
    )


def describe(record: ConsentRecord, now: float) -> dict[str, object]:
    """A record as JSON; the fingerprint stays inside."""
    content = {item.name: getattr(record, item.name) for item in fields(record)}
    del content["fingerprint"]
    return content | {
        "kind": str(record.kind),
        "scopes": sorted(record.scopes),
        "checks": {name: str(outcome) for name, outcome in record.checks.named().items()},
        "signature": record.signature.hex(),
        "digest": record.digest,
        "standing": record.standing(now),
    }


def sha256_of(data: bytes | Path) -> str:
    """SHA-256 of bytes, or of a file read in pieces, as lower-case hex."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _milliseconds(moment: float | None) -> int | None:
    return None if moment is None else round(moment * 1000)


def _check_time(name: str, moment: float | None) -> None:
    """NaN would never be over."""
    if moment is not None and not 0 <= moment < _LATEST:
        raise ConsentInvalid(f"{name} is seconds since 1970, before the year 10000, not {moment}")


def _check_hash(text: str) -> None:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ConsentInvalid(f"not a SHA-256 in lower-case hex: {text!r}")
