"""``ConsentGrant``: required by enrolment and by streams. Made by ``ConsentGate`` only.

A grant is bound to one avatar, one use and one session, carries a seal over its fields, and must be
recent when something begins. ``check`` asks the registry again, so that whatever ends consent also
stops running streams.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.consent.records import Scope
from pipeline.errors import (
    ConsentError,
    ConsentMismatch,
    ConsentScopeDenied,
    GrantExpired,
    GrantForged,
)

if TYPE_CHECKING:
    from pipeline.consent.validator import RecordValidator

BEGIN_S: Final = 3600.0  # within which a performance must begin: large models load for minutes
LIFETIME_S: Final = 24 * 3600.0  # after which the longest performance ends
_SECRET: Final = secrets.token_bytes(32)  # seals grants of this process only


@dataclass(frozen=True, slots=True)
class Standing:
    """When the registry last confirmed a grant, in seconds ago, and why it does not stand now.

    ``refusal`` is ``RegistryUnavailable`` where that cannot be known, None where the grant stands.
    """

    good_ago_s: float
    refusal: ConsentError | None


@dataclass(frozen=True, slots=True)
class ConsentGrant:
    """Leave to generate one avatar for one use in one session. Times as in records."""

    consent_id: str
    avatar: str
    image_sha256: str
    scope: Scope
    session: str
    begin_by: float
    expires_at: float
    judge: RecordValidator = field(repr=False, compare=False)
    seal: bytes = field(repr=False)

    def __post_init__(self) -> None:
        self._check_seal()

    def check(
        self,
        *,
        image_sha256: str | None = None,
        scope: Scope | None = None,
        session: str | None = None,
        grace_s: float | None = None,
    ) -> None:
        """Raises a ``ConsentError`` unless the grant holds now, for this picture, use, session.

        Naming the picture begins something, for which the grant must be young and the registry
        must answer. Otherwise this is the question of what runs already: cheap enough for every
        frame, because the registry is only read when it has changed, and never by whoever asks
        where that takes time. What runs goes on for the registry's grace while it cannot be asked
        (``grace_s`` names another); then this raises ``RegistryUnavailable``.
        """
        self._check_seal()
        if image_sha256 is not None and image_sha256 != self.image_sha256:
            raise ConsentMismatch(
                f"the grant is for picture {self.image_sha256[:12]}, not {image_sha256[:12]}:"
                " ask the gate with this picture's hash"
            )
        if scope is not None and scope is not self.scope:
            raise ConsentScopeDenied(f"the grant is for {self.scope}, not for {scope}")
        if session is not None and session != self.session:
            raise GrantForged(f"the grant was given to session {self.session}, not to {session}")
        last = self.expires_at if image_sha256 is None else min(self.begin_by, self.expires_at)
        if self.judge.now() >= last:
            raise GrantExpired(
                f"the grant of consent {self.consent_id} has expired: ask the gate for a new one"
            )
        if grace_s is None:
            grace_s = self.judge.registry.setup.grace_s if image_sha256 is None else 0.0
        self.judge.stands(self.consent_id, self.avatar, self.scope, grace_s=grace_s)

    def standing(self) -> Standing:
        """The state of the grant, without raising."""
        refusal: ConsentError | None = None
        try:
            self.check(grace_s=0.0)
        except ConsentError as why:
            refusal = why
        return Standing(
            self.judge.confirmed_ago_s(self.consent_id, self.avatar, self.scope), refusal
        )

    def _check_seal(self) -> None:
        if not hmac.compare_digest(self.seal, seal(self._sealed(), self.judge)):
            raise GrantForged("this grant was not minted by the consent gate: ask ConsentGate")

    def _sealed(self) -> tuple[object, ...]:
        names = (self.consent_id, self.avatar, self.image_sha256, str(self.scope), self.session)
        return (*names, self.begin_by, self.expires_at)


def seal(content: tuple[object, ...], judge: RecordValidator) -> bytes:
    """Binds every field, and the judge that is asked again."""
    return hmac.digest(_SECRET, repr((*content, id(judge))).encode(), hashlib.sha256)
