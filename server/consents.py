"""The pipeline as the server sees it: bundled avatars, and the consent gate in front of them.

The only module that imports ``pipeline``. Grants are for live use and are asked for anew for every
session, so that a record revoked today opens nothing tomorrow; running streams ask by themselves.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from pipeline.avatars import catalogue, find_avatar
from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.errors import ConsentError, ContinuumError
from server.avatars import Avatars, Card
from server.errors import ConsentRequired
from server.house import House, cores
from server.settings import Settings

log = logging.getLogger(__name__)

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


class CannotStart(RuntimeError):
    """The model or the registry cannot be opened; the message says what to do."""


class Bundled:
    """Avatars that ship with the model."""

    def __init__(self, pipeline: Any, registry: Registry) -> None:
        self._pipeline = pipeline
        self._gate = ConsentGate(registry)

    def cards(self) -> list[Card]:
        """Every bundled avatar; a damaged one is left out, and the log says why."""
        cards = []
        for name in catalogue():
            try:
                cards.append(_card(name))
            except ContinuumError as failure:
                log.error("avatar %s is left out: %s", name, failure)
        return cards

    def grant(self, avatar: str) -> object:
        """A live grant. Raises ``ConsentRequired``."""
        try:
            return self._gate.grant_bundled(find_avatar(avatar), Scope.LIVE)
        except ConsentError as refusal:
            raise ConsentRequired(str(refusal), code=refusal.code) from refusal

    def enrol(self, avatar: str, grant: object) -> object:
        """The avatar at the model's default size."""
        return self._pipeline.bundled(avatar, grant)


def _card(name: str) -> Card:
    found = find_avatar(name)
    card = found.card()
    path = found.reference
    return Card(
        id=name,
        name=str(card.get("title", name.title())),
        description=str(card.get("description", "")),
        picture=path.read_bytes(),
        picture_type=TYPES[path.suffix],
    )


def _share_cores() -> None:
    """Leaves half of the cores to media: a model that takes them all is late itself.

    On two cores, one thread of generation is 35 ms a picture sooner than two that wait for cores
    that encode. Read once by OpenMP, so it must be said before torch is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // 2)))


def open_house(settings: Settings) -> House:
    """Loads the model and opens the consent registry; blocking, seconds. Raises ``CannotStart``."""
    _share_cores()
    from pipeline.engine import AvatarPipeline  # imports torch, which takes a second

    try:
        registry = Registry(Path(settings.registry).expanduser())
        pipeline = AvatarPipeline.load(settings.model)
    except ContinuumError as failure:
        raise CannotStart(str(failure)) from failure
    return House(settings, pipeline, Avatars(Bundled(pipeline, registry)), registry.close)
