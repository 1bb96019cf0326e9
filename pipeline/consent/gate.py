"""The gate: no grant, no generation.

Only ``ConsentGate`` makes grants, after the validator has found a record valid for this picture and
this use. Every grant and every refusal is in the audit log; a grant is logged before it is given.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from typing import Final, Protocol

from pipeline.consent.grant import BEGIN_S, LIFETIME_S, ConsentGrant, seal
from pipeline.consent.records import ConsentRecord, Kind, Scope
from pipeline.consent.registry import Registry
from pipeline.consent.validator import RecordValidator
from pipeline.errors import (
    AvatarDamaged,
    ConsentError,
    ConsentMismatch,
    ConsentMissing,
    RegistryUnavailable,
)

log: Final = logging.getLogger(__name__)


class Bundled(Protocol):
    """What the gate needs to know of an avatar that ships with the project."""

    @property
    def name(self) -> str: ...
    def image_sha256(self) -> str: ...
    def consent(self) -> ConsentRecord: ...
    def picture(self) -> bytes: ...


class ConsentGate:
    """Judges the records of one registry and mints grants from those that stand."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.judge = registry, RecordValidator(registry)
        self._admitted: set[str] = set()  # bundled records that the registry has

    def grant(
        self,
        *,
        avatar: str,
        image_sha256: str,
        scope: Scope,
        consent_id: str | None,
        session: str = "",
        actor: str = "pipeline",
    ) -> ConsentGrant:
        """A grant to use ``avatar``, whose reference file has this hash, for ``scope``.

        ``session`` is what the grant is bound to; a fresh name when none is given. Raises the
        ``ConsentError`` that names the first thing that is not in order.
        """
        session = session or f"g-{secrets.token_hex(8)}"
        about = {"avatar": avatar[:200], "session": session, "consent_id": (consent_id or "")[:200]}
        try:
            record = self._standing(avatar, image_sha256, scope, consent_id)
        except ConsentError as refusal:
            self._refused(refusal, actor, scope, about)
            raise
        self.registry.log.record(
            "grant.issued", actor=actor, durable=False, scope=str(scope), **about
        )
        return self._mint(record, avatar, scope, session)

    def grant_bundled(
        self, avatar: Bundled, scope: Scope, *, session: str = "", actor: str = "pipeline"
    ) -> ConsentGrant:
        """A grant for an avatar that ships with the project, through its synthetic record.

        The record is imported once; revoking it in the registry bars the avatar for good.
        Raises ``AvatarDamaged`` when the folder's record is not a synthetic one for its picture.
        """
        record = self.admit_bundled(avatar)
        return self.grant(
            avatar=avatar.name,
            image_sha256=record.image_sha256,
            scope=scope,
            consent_id=record.id,
            session=session,
            actor=actor,
        )

    def admit_bundled(self, avatar: Bundled) -> ConsentRecord:
        """Imports the record of a bundled avatar if the registry lacks it; raises as above."""
        record, image_sha256 = avatar.consent(), avatar.image_sha256()
        if record.kind is not Kind.SYNTHETIC or record.image_sha256 != image_sha256:
            raise AvatarDamaged(
                f"the consent record of bundled avatar {avatar.name!r} does not belong to its"
                " reference picture: reinstall Continuum"
            )
        if record.id not in self._admitted:
            self.registry.add(record, picture=avatar.picture(), actor="release")
            self._admitted.add(record.id)
        return record

    def _standing(
        self, avatar: str, image_sha256: str, scope: Scope, consent_id: str | None
    ) -> ConsentRecord:
        if not consent_id:
            raise ConsentMissing(
                f"avatar {avatar!r:.80} has no consent record: write one with"
                " `continuum consent add` and name its id"
            )
        record = self.judge.stands(consent_id, avatar, scope, anew=True)
        if record.image_sha256 != image_sha256:
            raise ConsentMismatch(
                f"consent {record.id} is for picture {record.image_sha256[:12]}, this one is"
                f" {image_sha256[:12]}: use the very file that the record was written for"
            )
        return record

    def _refused(
        self, refusal: ConsentError, actor: str, scope: Scope, about: dict[str, str]
    ) -> None:
        log.warning("consent refused: %s", refusal)
        with contextlib.suppress(RegistryUnavailable):  # then the refusal itself says so
            self.registry.log.record(
                "grant.refused",
                actor=actor,
                durable=False,
                scope=str(scope),
                code=refusal.code,
                **about,
            )

    def _mint(self, record: ConsentRecord, avatar: str, scope: Scope, session: str) -> ConsentGrant:
        now = self.registry.clock()
        ends = min(now + LIFETIME_S, record.expires_at or float("inf"))
        names = (record.id, avatar, record.image_sha256)
        sealed = seal((*names, str(scope), session, now + BEGIN_S, ends), self.judge)
        return ConsentGrant(*names, scope, session, now + BEGIN_S, ends, self.judge, seal=sealed)
