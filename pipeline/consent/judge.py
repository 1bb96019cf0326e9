"""Whether a consent record stands: for this avatar, this use, now.

The one place where a record is judged, before a performance and while it runs. A judgement is kept
until the registry changes; only the clock is looked at every time.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from pipeline.consent.audit import Entry
from pipeline.consent.records import ADULT_AGE, ConsentRecord, Kind, Outcome, Scope
from pipeline.errors import (
    ConsentAgeUnknown,
    ConsentCheckFailed,
    ConsentDenied,
    ConsentExpired,
    ConsentIncomplete,
    ConsentPictureTaken,
    ConsentRevoked,
    ConsentScopeDenied,
    ConsentTampered,
    ConsentUnderage,
)

if TYPE_CHECKING:
    from pipeline.consent.registry import Registry

_KEPT: Final = 10_000


class Judge:
    """Judges the records of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._lock = threading.Lock()
        self._revision = -1
        self._stand: dict[tuple[str, str, Scope], ConsentRecord] = {}

    def now(self) -> float:
        """The registry's clock."""
        return self.registry.clock()

    def stands(self, consent_id: str, avatar: str, scope: Scope) -> ConsentRecord:
        """The record, if it stands; raises the ``ConsentError`` that says why it does not."""
        revision, key = self.registry.database.revision(), (consent_id, avatar, scope)
        with self._lock:
            if revision != self._revision or len(self._stand) > _KEPT:
                self._stand.clear()
                self._revision = revision
            record = self._stand.get(key)
        if record is None:
            record = self._judged(consent_id, avatar, scope)
            with self._lock:
                if revision == self._revision:
                    self._stand[key] = record
        _check_time(record, self.now())
        return record

    def _judged(self, consent_id: str, avatar: str, scope: Scope) -> ConsentRecord:
        record = self.registry.judged(consent_id)
        _check_time(record, self.now())
        self._check_signed(record)
        if scope not in record.scopes:
            raise ConsentScopeDenied(
                f"consent {record.id} covers {', '.join(sorted(record.scopes))}, not {scope}:"
                " the subject must agree to it in a new record"
            )
        check_age(record, self.now())
        for name, outcome in record.checks.named().items():
            if outcome is Outcome.FAILED:
                raise ConsentCheckFailed(f"consent {record.id}: the {name} check failed")
        self.registry.policies.examine(record, scope)
        self._check_unprotected(record, avatar)
        return record

    def _check_signed(self, record: ConsentRecord) -> None:
        if not record.signature or not record.fingerprint:
            raise ConsentIncomplete(
                f"consent {record.id} lacks its picture's fingerprint or a signature:"
                " `continuum consent complete` adds them"
            )
        if not self.registry.vault.vouches(record.canonical(), record.signature):
            raise ConsentTampered(f"consent {record.id} is not what the operator signed")

    def _told(self, action: str, consent_id: str) -> Entry | None:
        with self.registry.database.read() as connection:
            return self.registry.log.newest(connection, action, consent_id)

    def _is_lifted(self, consent_id: str) -> bool:
        """Whether an override stands, in its table and in the log, where it is signed."""
        if not self.registry.denials.overridden(consent_id):
            return False
        granted = self._told("override.granted", consent_id)
        withdrawn = self._told("override.withdrawn", consent_id)
        if granted is None or not self.registry.log.vouched(granted):
            return False
        return withdrawn is None or withdrawn.seq < granted.seq

    def _check_unprotected(self, record: ConsentRecord, avatar: str) -> None:
        denials = self.registry.denials
        named, alike = denials.named(record.subject, avatar), denials.alike(record.id)
        if (named is None and not alike) or self._is_lifted(record.id):
            return
        if named is not None:
            raise ConsentDenied(
                f"consent {record.id}: this person is protected ({named}); only their own, verified"
                " consent and `continuum deny override` lift that"
            )
        (first, *_) = alike
        if first.other.startswith("d-"):
            raise ConsentDenied(f"consent {record.id}: a protected {first.how} ({first.other})")
        raise ConsentPictureTaken(
            f"consent {record.id}: its {first.how} is that of consent {first.other}, of somebody"
            " else"
        )


def check_age(record: ConsentRecord, now: float) -> None:
    """Raises unless an adult is attested; in the year of a birthday, the year alone is no proof."""
    if record.birth_year is not None:
        years = time.gmtime(now).tm_year - record.birth_year
        if years < ADULT_AGE:
            raise ConsentUnderage(f"consent {record.id}: the subject is {years} or younger")
        if years > ADULT_AGE:
            return
    if not record.adult:
        whose = "shown" if record.kind is Kind.SYNTHETIC else "who agreed"
        raise ConsentAgeUnknown(
            f"consent {record.id}: nobody attests that the person {whose} is {ADULT_AGE} or older"
        )


def _check_time(record: ConsentRecord, now: float) -> None:
    if record.revoked_at is not None:
        raise ConsentRevoked(f"consent {record.id} was revoked: this face may not be used")
    if record.expires_at is not None and now >= record.expires_at:
        raise ConsentExpired(f"consent {record.id} has expired: ask the subject for a new one")
