"""Whether a consent record is valid: for this avatar, this use, now.

The one place where a record is judged, before and during a stream. A verdict is cached until the
registry changes; only the clock is checked every time. With a database server, the thread that
polls it judges running sessions again, so that no other thread waits. While the registry is
unreachable, the last verdict holds for the caller's grace period.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.consent.records import ADULT_AGE, ConsentRecord, Kind, Outcome, Scope
from pipeline.errors import (
    ConsentAgeUnknown,
    ConsentCheckFailed,
    ConsentDenied,
    ConsentError,
    ConsentExpired,
    ConsentIncomplete,
    ConsentPictureTaken,
    ConsentRevoked,
    ConsentScopeDenied,
    ConsentTampered,
    ConsentUnderage,
    RegistryUnavailable,
)

if TYPE_CHECKING:
    from pipeline.consent.registry import Registry

KEPT_S: Final = 60.0  # how long a verdict is kept up to date that nobody asks for
_KEPT: Final = 10_000

Key = tuple[str, str, Scope]


@dataclass(slots=True)
class Verdict:
    """A record that stands, or why it does not, as of a revision.

    On the monotonic clock: ``at`` is when the registry last confirmed it, ``asked`` when somebody
    last wanted to know.
    """

    revision: int
    outcome: ConsentRecord | ConsentError
    at: float
    asked: float

    def standing(self) -> ConsentRecord:
        """The record, or the refusal raised, once more."""
        if isinstance(self.outcome, ConsentError):
            raise type(self.outcome)(*self.outcome.args) from self.outcome
        return self.outcome

    @property
    def is_refusal(self) -> bool:
        """Whether the record does not stand."""
        return isinstance(self.outcome, ConsentError)


class RecordValidator:
    """Judges the records of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self._database = registry, registry.database
        self._lock = threading.Lock()
        self._revision = self._database.revision()
        self._held: dict[Key, Verdict] = {}
        self._database.listen(self)

    def now(self) -> float:
        """The registry's clock."""
        return self.registry.clock()

    def stands(
        self,
        consent_id: str,
        avatar: str,
        scope: Scope,
        *,
        grace_s: float = 0.0,
        anew: bool = False,
    ) -> ConsentRecord:
        """The record, if it stands; raises the ``ConsentError`` that says why it does not.

        ``grace_s`` is how old the last confirmation may be while the registry cannot be asked;
        ``anew`` judges again what was refused. Raises ``RegistryUnavailable`` beyond the grace.
        """
        key = (consent_id, avatar, scope)
        try:
            verdict = self._verdict(key, anew)
        except RegistryUnavailable:
            held = self._held.get(key)
            if held is None or self._database.closed or self.confirmed_ago_s(*key) > grace_s:
                raise
            verdict = held
        record = verdict.standing()
        _check_time(record, self.now())
        return record

    def confirmed_ago_s(self, consent_id: str, avatar: str, scope: Scope) -> float:
        """Seconds since the registry last said that it stands, or does not; infinite for never."""
        verdict = self._held.get((consent_id, avatar, scope))
        return float("inf") if verdict is None else time.monotonic() - verdict.at

    def changed(self, revision: int) -> None:
        """Judges running sessions again before the change takes effect; may be slow."""
        with self._lock:
            self._revision = revision
            since = time.monotonic() - KEPT_S
            self._held = {key: held for key, held in self._held.items() if held.asked >= since}
            running = list(self._held.items())
        for key, before in running:
            verdict = self._judge(key, revision)
            verdict.asked = before.asked
            self._hold(key, verdict, revision)

    def _verdict(self, key: Key, anew: bool) -> Verdict:
        revision = self._database.revision()
        held = self._held.get(key)
        current = held is not None and (self._database.is_watched or held.revision == revision)
        if held is None or not current or (anew and held.is_refusal):
            return self._judge_here(key, revision)
        held.at, held.asked = self._database.answered_at(), time.monotonic()
        return held

    def _judge_here(self, key: Key, revision: int) -> Verdict:
        """On the caller's thread; judged once more when the registry changed meanwhile."""
        while True:
            if not self._database.is_watched:
                self._revision = revision
            verdict = self._judge(key, revision)
            if verdict.is_refusal:
                with self._lock:
                    self._held.pop(key, None)
                return verdict
            if self._hold(key, verdict, revision):
                return verdict
            revision = self._revision

    def _hold(self, key: Key, verdict: Verdict, revision: int) -> bool:
        """Keeps a verdict, unless the registry has changed since."""
        with self._lock:
            if revision != self._revision:
                return False
            if len(self._held) >= _KEPT:
                self._held.clear()
            self._held[key] = verdict
            return True

    def _judge(self, key: Key, revision: int) -> Verdict:
        """Raises only ``RegistryUnavailable``."""
        began = time.monotonic()
        try:
            return Verdict(revision, self._judged(*key), began, began)
        except RegistryUnavailable:
            raise
        except ConsentError as refusal:
            return Verdict(revision, refusal, began, began)

    def _judged(self, consent_id: str, avatar: str, scope: Scope) -> ConsentRecord:
        self.registry.log.ledger.check_own()
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

    def _is_lifted(self, consent_id: str) -> bool:
        """Whether an override stands, in its table and in the log, where it is signed."""
        lifted = consent_id in self.registry.log.ledger.facts.lifted
        return lifted and self.registry.denials.overridden(consent_id)

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
            f"consent {record.id}: its {first.how} is that of consent {first.other}, of another"
            " person"
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
            f"consent {record.id}: no attestation that the person {whose} is {ADULT_AGE} or older"
        )


def _check_time(record: ConsentRecord, now: float) -> None:
    if record.revoked_at is not None:
        raise ConsentRevoked(f"consent {record.id} was revoked: this face may not be used")
    if record.expires_at is not None and now >= record.expires_at:
        raise ConsentExpired(f"consent {record.id} has expired: ask the subject for a new one")
