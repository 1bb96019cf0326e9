"""The consent registry as the settings describe it, for the server and for the admin command."""

from __future__ import annotations

from pathlib import Path

from pipeline.consent import Registry, Setup
from pipeline.consent.policy import Policy, load_policy
from pipeline.consent.records import DAY_S
from pipeline.consent.senses import load_senses
from server.settings import Settings


def open_registry(settings: Settings) -> Registry:
    """Opens it. Raises the ``ConsentError`` that says what to mend."""
    policy = _path(settings.policy)
    setup = Setup(
        vault=_path(settings.vault),
        operator_key=_path(settings.operator_key),
        evidence_key=_path(settings.evidence_key),
        policy=load_policy(policy) if policy else Policy(),
        senses=load_senses(_path(settings.face_model), _path(settings.age_model)),
        retention_s=settings.retention_days * DAY_S,
    )
    return Registry(settings.registry, setup=setup)


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None
