"""Opens the consent registry as the settings say, for the server and for ``continuum``.

The registry remembers these settings for all commands; settings left empty stay as remembered.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.consent import Registry, RegistryOverrides
from pipeline.consent.policy import load_policy
from pipeline.consent.records import DAY_S
from server.settings import Settings


def open_registry(settings: Settings) -> Registry:
    """Opens it. Raises the ``ConsentError`` that says what to mend."""
    policy = _path(settings.policy)
    kept = settings.retention_days
    setup = RegistryOverrides(
        vault=_path(settings.vault),
        operator_key=_path(settings.operator_key),
        evidence_key=_path(settings.evidence_key),
        face_model=_path(settings.face_model),
        age_model=_path(settings.age_model),
        retention_s=None if kept < 0 else kept * DAY_S,
        policy=load_policy(policy) if policy else None,
        grace_s=settings.registry_grace_s,
    )
    registry = Registry(settings.registry, setup=setup)
    try:
        registry.face_models  # noqa: B018  a model that cannot be used is refused now, not when needed
    except BaseException:
        registry.close()
        raise
    return registry


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None
