"""The gate: no grant, no generation.

A ``ConsentGrant`` is the only key to enrolment and to streams, and only ``ConsentGate.grant``
makes one, after it has read a record that is live, belongs to this exact picture and covers this
use. A grant carries a seal over its fields: one that was built or changed elsewhere is refused.
Holding a grant is not enough for long: ``check`` asks the registry again, so that revoking a
record stops what already runs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final, Protocol

from pipeline.consent.registry import ConsentRecord, Kind, Registry, Scope
from pipeline.errors import (
    AvatarDamaged,
    ConsentExpired,
    ConsentMismatch,
    ConsentMissing,
    ConsentRevoked,
    ConsentScopeDenied,
    GrantExpired,
    GrantForged,
)

GRANT_LIFETIME_S: Final = 24 * 3600.0
_SECRET: Final = secrets.token_bytes(32)  # seals grants of this process only


class Bundled(Protocol):
    """What the gate needs to know of an avatar that ships with the project."""

    @property
    def name(self) -> str: ...
    def image_sha256(self) -> str: ...
    def consent(self) -> ConsentRecord: ...


@dataclass(frozen=True, slots=True)
class ConsentGrant:
    """Leave to generate one avatar for one use. Minted by ``ConsentGate`` alone."""

    consent_id: str
    avatar: str
    image_sha256: str
    scope: Scope
    expires_at: float
    registry: Registry = field(repr=False, compare=False)
    seal: bytes = field(repr=False)

    def __post_init__(self) -> None:
        self._check_seal()

    def check(self, *, image_sha256: str | None = None, scope: Scope | None = None) -> None:
        """Raises a ``ConsentError`` unless the grant holds now, for this picture and use.

        One indexed read of the registry (tens of microseconds): cheap enough for every tick.
        """
        self._check_seal()
        if image_sha256 is not None and image_sha256 != self.image_sha256:
            raise ConsentMismatch(
                f"the grant is for picture {self.image_sha256[:12]}, not {image_sha256[:12]}:"
                " ask the gate with this picture's hash"
            )
        if scope is not None and scope is not self.scope:
            raise ConsentScopeDenied(f"the grant is for {self.scope}, not for {scope}")
        if self.registry.clock() >= self.expires_at:
            raise GrantExpired(f"the grant of consent {self.consent_id} has run out: ask again")
        _check_live(self.registry.get(self.consent_id), self.registry.clock())

    def _check_seal(self) -> None:
        fields = (self.consent_id, self.avatar, self.image_sha256, self.scope, self.expires_at)
        if not hmac.compare_digest(self.seal, _seal(*fields, self.registry)):
            raise GrantForged("this grant was not minted by the consent gate: ask ConsentGate")


class ConsentGate:
    """Reads records from one registry and mints grants from those that hold."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def grant(
        self, *, avatar: str, image_sha256: str, scope: Scope, consent_id: str | None
    ) -> ConsentGrant:
        """A grant to use ``avatar``, whose reference file has this hash, for ``scope``.

        Raises the ``ConsentError`` that names the first thing that is not in order.
        """
        if not consent_id:
            raise ConsentMissing(
                f"avatar {avatar!r} has no consent record: write one with"
                " `python -m pipeline.consent add` and name its id"
            )
        record = self.registry.get(consent_id)
        now = self.registry.clock()
        _check_covers(record, image_sha256, scope)
        _check_live(record, now)
        return self._mint(record, avatar, scope, now)

    def grant_bundled(self, avatar: Bundled, scope: Scope) -> ConsentGrant:
        """A grant for an avatar that ships with the project, through its synthetic record.

        The record is imported once; revoking it in the registry bars the avatar for good.
        Raises ``AvatarDamaged`` when the folder's record is not a synthetic one for its picture.
        """
        record, image_sha256 = avatar.consent(), avatar.image_sha256()
        if record.kind is not Kind.SYNTHETIC or record.image_sha256 != image_sha256:
            raise AvatarDamaged(
                f"the consent record of bundled avatar {avatar.name!r} does not belong to its"
                " reference picture: reinstall Continuum"
            )
        self.registry.add(record)
        return self.grant(
            avatar=avatar.name, image_sha256=image_sha256, scope=scope, consent_id=record.id
        )

    def _mint(self, record: ConsentRecord, avatar: str, scope: Scope, now: float) -> ConsentGrant:
        ends = now + GRANT_LIFETIME_S
        expires_at = ends if record.expires_at is None else min(ends, record.expires_at)
        fields = (record.id, avatar, record.image_sha256, scope, expires_at, self.registry)
        return ConsentGrant(*fields, seal=_seal(*fields))


def _check_covers(record: ConsentRecord, image_sha256: str, scope: Scope) -> None:
    if record.image_sha256 != image_sha256:
        raise ConsentMismatch(
            f"consent {record.id} is for picture {record.image_sha256[:12]}, this one is"
            f" {image_sha256[:12]}: use the very file that the record was written for"
        )
    if scope not in record.scopes:
        raise ConsentScopeDenied(
            f"consent {record.id} covers {', '.join(sorted(record.scopes))}, not {scope}:"
            " the subject must agree to it in a new record"
        )


def _check_live(record: ConsentRecord, now: float) -> None:
    if record.revoked_at is not None:
        raise ConsentRevoked(f"consent {record.id} was revoked: this face may not be used")
    if record.expires_at is not None and now >= record.expires_at:
        raise ConsentExpired(f"consent {record.id} has expired: ask the subject for a new one")


def _seal(
    consent_id: str,
    avatar: str,
    image_sha256: str,
    scope: Scope,
    expires_at: float,
    registry: Registry,
) -> bytes:
    """Binds every field, the registry that is asked again included."""
    fields = (consent_id, avatar, image_sha256, str(scope), expires_at, id(registry))
    return hmac.digest(_SECRET, repr(fields).encode(), hashlib.sha256)
