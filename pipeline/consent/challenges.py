"""Challenge codes: proof that evidence was made for this occasion.

The registry issues a code for one subject. The subject says it in the recording, or signs it. A
record that uses the code consumes it, so an older recording cannot be used.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pipeline.consent.audit import AuditLog
from pipeline.consent.database import Database
from pipeline.consent.name_matching import readings
from pipeline.consent.schema import challenges
from pipeline.errors import ChallengeInvalid

LIFETIME_S: Final = 3600.0
_LONGEST_S: Final = 30 * 24 * 3600.0
_WORDS: Final = re.findall(
    r"\w+",
    "amber anchor apple arrow autumn barley beacon birch bottle bridge bronze butter candle canyon"
    " carpet castle cedar cherry cinder clover cobalt copper coral cotton cradle crystal dagger"
    " dolphin dragon ember falcon feather fiddle flannel forest garden ginger glacier granite"
    " hammer harbor hazel helmet honey indigo island ivory jacket jasmine juniper kettle ladder"
    " lantern lemon linen lobster magnet maple marble meadow mirror mountain nectar needle nutmeg",
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A code, for whom, and until when (seconds since the epoch)."""

    code: str
    subject: str
    expires_at: float


class Challenges:
    """The codes of one registry."""

    def __init__(self, database: Database, log: AuditLog, clock: Callable[[], float]) -> None:
        self._database, self._log, self._clock = database, log, clock

    def issue(self, subject: str, *, actor: str, lifetime_s: float = LIFETIME_S) -> Challenge:
        """A fresh code for a subject. Raises ``ChallengeInvalid`` for an odd life time."""
        if not 0 < lifetime_s <= _LONGEST_S or not subject.strip():
            raise ChallengeInvalid(
                f"a challenge is for somebody, and lives 0 to {_LONGEST_S:.0f} s, not"
                f" {lifetime_s:.0f} s for {subject!r}"
            )
        now = self._clock()
        words = (secrets.choice(_WORDS) for _ in range(3))
        code = "-".join([*words, f"{secrets.randbelow(10_000):04d}"])
        challenge = Challenge(code, subject, now + lifetime_s)
        row = {"code": code, "subject": subject, "issued_at": now}
        with self._database.write() as connection:
            connection.execute(
                challenges.insert().values(**row, expires_at=challenge.expires_at, used_by=None)
            )
            self._log.append(
                connection, "challenge.issued", actor=actor, subject=subject, code=code
            )
        return challenge

    def redeem(self, connection: sa.Connection, code: str, subject: str, consent_id: str) -> float:
        """Uses a code up within the transaction of its record; returns when it was issued.

        Raises ``ChallengeInvalid``.
        """
        row = connection.execute(
            sa.select(challenges).where(challenges.c.code == code).with_for_update()
        ).first()
        if row is None:
            raise ChallengeInvalid(f"challenge {code!r} was not issued by this registry")
        if row.used_by is not None:
            raise ChallengeInvalid(f"challenge {code} was used for {row.used_by}: issue another")
        if self._clock() >= row.expires_at:
            raise ChallengeInvalid(f"challenge {code} has expired: issue another")
        if row.subject != subject and not readings(row.subject) & readings(subject):
            raise ChallengeInvalid(f"challenge {code} was issued to {row.subject}, not {subject}")
        where = challenges.c.code == code
        connection.execute(challenges.update().where(where).values(used_by=consent_id))
        return float(row.issued_at)
