"""The pipeline's errors as the server's errors: one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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


@contextmanager
def translated() -> Iterator[None]:
    """Every refusal of the pipeline as the one ``ServerError`` that it is over HTTP."""
    try:
        yield
    except ContinuumError as refusal:
        kind = next((to for of, to in PROBLEMS if isinstance(refusal, of)), ServerError)
        raise kind(str(refusal), code=refusal.code) from refusal
