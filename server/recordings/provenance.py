"""The visible label, and the signed provenance of recordings.

Recording needs its own consent scope: the grant of a live session does not cover it, so the gate is
asked again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.errors import ContinuumError
from pipeline.interface import AvatarModel, AvatarStream
from pipeline.media.label import Label, Place, Style, removed
from pipeline.media.provenance import Origin, Signer, load_signer, sealing
from server.avatars.pipeline_errors import translated
from server.settings import Settings, SettingsError

_WHO: Final = ("avatar", "image_sha256", "consent_id")


class RecordingProvenance:
    """Marks of one server. Raises ``SettingsError`` where a setting cannot be used."""

    def __init__(self, settings: Settings, model: AvatarModel, registry: Registry) -> None:
        self._registry, self._gate = registry, ConsentGate(registry)
        self._model = Path(settings.model).name
        self._signer = _signer(settings)
        self.label = model.label = _label(settings, registry)

    def admit(self, stream: AvatarStream, session: str) -> dict[str, str]:
        """How a recording of this stream came to be. Raises ``ConsentRequired``."""
        grant = stream.grant
        who = {name: getattr(grant, name) for name in _WHO}
        with translated():
            self._gate.grant(**who, scope=Scope.RECORDING, session=session, actor="recording")
            record = self._registry.get(grant.consent_id)
        mark = self.label.declaration or self.label.text
        return who | {"model": self._model, "consent_sha256": record.consent_sha256(), "mark": mark}

    def lend(self, origin: dict[str, str], recording: str, actor: str) -> None:
        """Asks once more before a finished recording is handed out, and audits that it is.

        Raises ``ConsentRequired`` or ``RegistryDown``.
        """
        who = {name: origin.get(name, "") for name in _WHO}
        with translated():
            self._gate.grant(**who, scope=Scope.RECORDING, session=recording, actor=actor)
            self._tell("recording.fetched", origin, recording, actor)

    def deleted(self, origin: dict[str, str], recording: str, actor: str) -> None:
        """Audits that a recording is about to go. Raises ``RegistryDown``."""
        with translated():
            self._tell("recording.deleted", origin, recording, actor)

    def _tell(self, what: str, origin: dict[str, str], recording: str, actor: str) -> None:
        self._registry.log.record(
            what,
            actor=actor,
            consent_id=origin.get("consent_id", ""),
            avatar=origin.get("avatar", ""),
            recording=recording,
        )

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
