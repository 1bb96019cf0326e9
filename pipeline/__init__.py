"""Continuum's pipeline: audio in, frames out. It knows tensors and nothing of HTTP or sockets.

The names below are its public surface; they are imported on first use, so that a command that only
checks its input starts in a moment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.consent import ConsentGate, ConsentGrant
    from pipeline.errors import ContinuumError
    from pipeline.interface import AvatarFrame
    from pipeline.models.mini.avatar import Avatar
    from pipeline.models.mini.engine import AvatarEngine
    from pipeline.models.mini.pipeline import AvatarPipeline
    from pipeline.models.mini.stream import AvatarStream

__all__ = [
    "Avatar",
    "AvatarEngine",
    "AvatarFrame",
    "AvatarPipeline",
    "AvatarStream",
    "ConsentGate",
    "ConsentGrant",
    "ContinuumError",
]

_HOMES = {
    "Avatar": "models.mini.avatar",
    "AvatarFrame": "interface",
    "AvatarStream": "models.mini.stream",
    "AvatarEngine": "models.mini.engine",
    "AvatarPipeline": "models.mini.pipeline",
    "ConsentGate": "consent",
    "ConsentGrant": "consent",
    "ContinuumError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_HOMES[name]}"), name)
