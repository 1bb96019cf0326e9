"""Refusals of the pipeline as errors of the server: one table, and what differs for records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pipeline.errors import (
    AvatarError,
    AvatarNameInvalid,
    AvatarsFull,
    BackgroundInvalid,
    ConsentError,
    ConsentMissing,
    ContinuumError,
    EvidenceInvalid,
    ModelError,
    PictureError,
    RegistryUnavailable,
    UnknownAvatar as NoSuchAvatar,
)
from server.errors import (
    AvatarRefused,
    AvatarsTaken,
    AvatarUnusable,
    ConsentRefused,
    ConsentRequired,
    ModelUnusable,
    PictureRefused,
    RegistryDown,
    ServerError,
    UnknownAvatar,
    UnknownConsent,
)

Problems = tuple[tuple[type[ContinuumError], type[ServerError]], ...]
PROBLEMS: Final[Problems] = (
    (RegistryUnavailable, RegistryDown),
    (EvidenceInvalid, AvatarUnusable),
    (ConsentError, ConsentRequired),
    (NoSuchAvatar, UnknownAvatar),
    (AvatarsFull, AvatarsTaken),
    (AvatarNameInvalid, AvatarRefused),
    (AvatarError, AvatarUnusable),
    (PictureError, PictureRefused),
    (BackgroundInvalid, PictureRefused),
    (ModelError, ModelUnusable),
)  # the first that fits; anything else is our own fault, and 500
RECORD_PROBLEMS: Final[Problems] = (
    (RegistryUnavailable, RegistryDown),
    (ConsentMissing, UnknownConsent),
    (ConsentError, ConsentRefused),
    *PROBLEMS,
)  # where consent is what is written, not what is asked for


@contextmanager
def translated(problems: Problems = PROBLEMS) -> Iterator[None]:
    """Every refusal of the pipeline as the one ``ServerError`` that it is over HTTP."""
    try:
        yield
    except ContinuumError as refusal:
        kind = next((to for of, to in problems if isinstance(refusal, of)), ServerError)
        raise kind(str(refusal), code=refusal.code) from refusal
