"""The pipeline as the server sees it: bundled avatars, and the consent gate in front of them.

With ``server.avatars.enrolment`` the only module that imports ``pipeline``. Grants are for live use
and are asked for anew for every session, so that a record revoked today opens nothing tomorrow;
running streams ask by themselves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pipeline.avatars import catalogue, find_avatar
from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.errors import (
    AvatarError,
    AvatarNameInvalid,
    AvatarsFull,
    ConsentError,
    ContinuumError,
    EvidenceInvalid,
    ModelError,
    PictureError,
    RegistryUnavailable,
    UnknownAvatar as NoSuchAvatar,
)
from pipeline.media.image_file import Bounds
from server.avatars.catalog import Avatars, Card
from server.consent.monitor import Desk
from server.consent.registry import open_registry
from server.errors import (
    AvatarRefused,
    AvatarsTaken,
    AvatarUnusable,
    ConsentRequired,
    ModelUnusable,
    PictureRefused,
    RegistryDown,
    ServerError,
    UnknownAvatar,
)
from server.sessions.session_manager import House, cores
from server.settings import Settings

log = logging.getLogger(__name__)

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


PROBLEMS: Final[tuple[tuple[type[ContinuumError], type[ServerError]], ...]] = (
    (RegistryUnavailable, RegistryDown),
    (EvidenceInvalid, AvatarUnusable),
    (ConsentError, ConsentRequired),
    (NoSuchAvatar, UnknownAvatar),
    (AvatarsFull, AvatarsTaken),
    (AvatarNameInvalid, AvatarRefused),
    (AvatarError, AvatarUnusable),
    (PictureError, PictureRefused),
    (ModelError, ModelUnusable),
)  # the first that fits; anything else is our own fault, and 500


class CannotStart(RuntimeError):
    """The model or the registry cannot be opened; the message says what to do."""


class Bundled:
    """Avatars that ship with the model."""

    def __init__(self, pipeline: Any, registry: Registry) -> None:
        self._pipeline = pipeline
        self._gate = ConsentGate(registry)
        self._told: set[str] = set()  # notices that are in the log

    def cards(self) -> list[Card]:
        """Every bundled avatar; a damaged one is left out, and the log says why."""
        cards = []
        for name in catalogue():
            try:
                cards.append(_card(name))
            except ContinuumError as failure:
                log.error("avatar %s is left out: %s", name, failure)
        return cards

    def grant(self, avatar: str, session: str = "") -> object:
        """A live grant for a session. Raises what ``translated`` makes of a refusal."""
        with translated():
            return self._gate.grant_bundled(
                find_avatar(avatar), Scope.LIVE, session=session, actor="server"
            )

    def enrol(self, avatar: str, grant: object) -> object:
        """The avatar at the model's default size."""
        with translated():
            enrolled = self._pipeline.bundled(avatar, grant)
        for notice in set(getattr(self._pipeline, "notices", ())) - self._told:
            self._told.add(notice)
            log.warning("%s", notice)
        return enrolled


class Performers:
    """The pipeline as ``House`` uses it: its refusals are the server's."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def open(self, avatar: Any, grant: Any, prompt: str = "", seed: int = 0) -> Any:
        """A stream. Raises what ``translated`` makes of a refusal."""
        with translated():
            return self._pipeline.open(avatar, grant, prompt=prompt, seed=seed)


@contextmanager
def translated() -> Iterator[None]:
    """Every refusal of the pipeline as the one ``ServerError`` that it is over HTTP."""
    try:
        yield
    except ContinuumError as refusal:
        kind = next((to for of, to in PROBLEMS if isinstance(refusal, of)), ServerError)
        raise kind(str(refusal), code=refusal.code) from refusal


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
    from pipeline.loader import load_pipeline

    try:
        registry = open_registry(settings)
    except ContinuumError as failure:
        raise CannotStart(str(failure)) from failure
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
    from server.avatars.enrolment import OwnPictures
    from server.avatars.sources import Everybody

    gate = ConsentGate(registry)
    bounds = Bounds(*settings.bounds())
    everybody = Everybody(Bundled(pipeline, registry), pipeline, gate, bounds)
    own = OwnPictures(gate, bounds, settings.avatars_max)
    avatars = Avatars(everybody, own, settings.avatars_ready)
    from server.recordings.provenance import Marking

    house = House(settings, Performers(pipeline), avatars, Desk(registry))
    house.marker = Marking(settings, pipeline, registry)
    return house
