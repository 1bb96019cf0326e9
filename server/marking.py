"""What the server generates, as the pipeline marks it: the label, and provenance of recordings.

Beside ``server.consents`` the only module that imports ``pipeline``. Recording needs consent of its
own: the grant of a live session does not cover it, so the gate is asked again, for that scope.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.errors import ContinuumError
from pipeline.label import Label, Place, Style, removed
from pipeline.provenance import Origin, Signer, consent_sha256, load_signer, sealing
from server.consents import translated
from server.settings import Settings, SettingsError


class Marking:
    """Marks of one server. Raises ``SettingsError`` where a setting cannot be used."""

    def __init__(self, settings: Settings, pipeline: Any, registry: Registry) -> None:
        self._registry, self._gate = registry, ConsentGate(registry)
        self._model = Path(settings.model).name
        self._signer = _signer(settings)
        self.label = pipeline.label = _label(settings, registry)

    def admit(self, stream: Any, session: str) -> dict[str, str]:
        """How a recording of this stream came to be. Raises ``ConsentRequired``."""
        grant = stream.grant
        with translated():
            self._gate.grant(
                avatar=grant.avatar,
                image_sha256=grant.image_sha256,
                scope=Scope.RECORDING,
                consent_id=grant.consent_id,
                session=session,
                actor="recording",
            )
            record = self._registry.get(grant.consent_id)
        mark = self.label.declaration or self.label.text
        return {
            "model": self._model,
            "avatar": grant.avatar,
            "consent_sha256": consent_sha256(record),
            "mark": mark,
        }

    def seal(self, origin: dict[str, str], path: Path) -> None:
        """Signs a finished recording in place. Raises the pipeline's ``SealUnusable``."""
        names = ("model", "avatar", "consent_sha256", "mark")
        said = Origin(*(origin.get(name, "unknown") for name in names))
        sealing(said, path.name.lstrip("."), self._signer)(path)


def _signer(settings: Settings) -> Signer | None:
    if not settings.c2pa_cert:
        return None
    paths = [Path(name).expanduser() for name in (settings.c2pa_cert, settings.c2pa_key)]
    try:
        return load_signer(*paths)
    except ContinuumError as failure:
        raise SettingsError(str(failure)) from failure


def _label(settings: Settings, registry: Registry) -> Label:
    def audit(what: str, words: str) -> None:
        registry.log.record(what, actor="operator", declaration=words)

    try:
        if settings.label_removed:
            return removed(settings.label_removed, "operator", audit)
        place, style = Place(settings.label_place), Style(settings.label_style)
        return Label(settings.label, place, style)
    except ValueError as failure:
        raise SettingsError(f"label: {failure}") from failure
