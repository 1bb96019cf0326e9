"""Starts a server: loads the model, opens the consent registry, connects the parts."""

from __future__ import annotations

import logging
import os
from typing import Any, Never

from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry
from pipeline.errors import ContinuumError
from pipeline.media.image_file import Bounds
from server.avatars.catalog import Avatars
from server.avatars.enrolment import OwnPictures
from server.avatars.sources import AvatarSources, Bundled, presents
from server.cluster.fleet import Fleet
from server.cluster.front import Front
from server.consent.monitor import ConsentMonitor
from server.consent.registry import open_registry
from server.errors import ChatFailed, RecognitionFailed, UnknownVoice
from server.recordings.provenance import RecordingProvenance
from server.sessions.capacity import cores
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from server.speech.answers.chat import Chat
from server.speech.answers.conversation import Answers
from server.speech.answers.recognition import Recognizer
from server.speech.endpoint import Endpoint
from server.speech.voices.catalog import VoiceCatalog, find_voices

log = logging.getLogger(__name__)


class CannotStart(RuntimeError):
    """The model or the registry cannot be opened; the message says what to do."""


def _share_cores() -> None:
    """Leaves half of the cores to media: a model that takes them all is late itself.

    On two cores, one thread of generation is 35 ms a picture sooner than two that wait for cores
    that encode. Read once by OpenMP, so it must be said before torch is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // 2)))


def open_server(settings: Settings) -> SessionManager:
    """Loads the model and opens the consent registry; blocking, seconds. Raises ``CannotStart``."""
    _share_cores()
    from pipeline.loader import load_pipeline

    voices, registry = _voices(settings), _registry(settings)
    try:
        pipeline = load_pipeline(
            settings.model,
            settings.checkpoint or None,
            settings.device,
            settings.force,
            settings.speed,
            settings.decoder,
            settings.recipe,
        )
    except ContinuumError as failure:
        registry.close()
        raise CannotStart(str(failure)) from failure
    log.info("model: %s", pipeline.reason)
    avatars = _avatars(settings, registry, pipeline)
    manager = SessionManager(settings, pipeline, avatars, ConsentMonitor(registry))
    manager.provenance = RecordingProvenance(settings, pipeline, registry)
    manager.voices, manager.answers = voices, answers(settings)
    return manager


def open_front(settings: Settings) -> Front:
    """HTTP's side of a cluster, without a model; blocking. Raises ``CannotStart``."""
    voices, registry = _voices(settings), _registry(settings)
    avatars = _avatars(settings, registry, _NoModel())
    front = Front(settings, avatars, Fleet(settings, open_server), ConsentMonitor(registry))
    front.voices, front.answers = voices, answers(settings)
    return front


class _NoModel:
    """A front shows avatars and never opens one."""

    def __getattr__(self, name: str) -> Never:
        raise CannotStart(f"a front has no model, and was asked for its {name}")


def _registry(settings: Settings) -> Registry:
    try:
        return open_registry(settings)
    except ContinuumError as failure:
        raise CannotStart(str(failure)) from failure


def _avatars(settings: Settings, registry: Registry, model: Any) -> Avatars:
    bounds = Bounds(*settings.bounds())
    catalog = AvatarCatalog(ConsentGate(registry), bounds)
    sources = AvatarSources(Bundled(model, catalog), model, catalog)
    enrolment = OwnPictures(catalog, bounds, settings.avatars_max)
    return Avatars(sources, enrolment, settings.avatars_ready)


def _voices(settings: Settings) -> VoiceCatalog:
    service = Endpoint("voice", settings.voice_url, settings.voice_key, settings.voice_model)
    try:
        return find_voices(service, settings.voice, presents)
    except UnknownVoice as failure:
        raise CannotStart(f"voice: {failure.detail}") from failure


def answers(settings: Settings) -> Answers:
    """The services that answer, as configured; none where their URL is empty."""
    s = settings
    chat = Endpoint("chat", s.chat_url, s.chat_key, s.chat_model, ChatFailed, silent_s=60)
    ears = Endpoint(
        "transcribe", s.transcribe_url, s.transcribe_key, s.transcribe_model, RecognitionFailed
    )
    recognizer = Recognizer(ears) if ears.url else None
    return Answers(Chat(chat) if chat.url else None, recognizer, s.chat_prompt)
