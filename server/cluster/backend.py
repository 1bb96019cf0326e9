"""What HTTP needs beside sessions: avatars, voices, the registry, and a life to begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from server.avatars.catalog import Avatars
from server.background.tasks import Tasks
from server.consent.monitor import ConsentMonitor
from server.speech.answers.conversation import Answers
from server.speech.voice import Voices

if TYPE_CHECKING:
    from server.recordings.recordings import Provenance


class Backend(Protocol):
    """``SessionManager``, or the ``Front`` of a cluster."""

    avatars: Avatars
    voices: Voices
    answers: Answers
    tasks: Tasks
    monitor: ConsentMonitor | None
    provenance: Provenance | None
    problem: str | None
    stage: str  # of its start
    settled: asyncio.Event

    def check(self) -> None:
        """Raises ``Unavailable`` unless sessions are admitted."""

    def open(self) -> Coroutine[Any, Any, None]:
        """Makes ready to admit sessions; seconds."""

    def renew(self) -> Coroutine[Any, Any, None]:
        """Reads the avatars again."""

    def drain(self) -> Coroutine[Any, Any, None]:
        """Admits no further sessions and waits for those that run."""

    def close(self) -> Coroutine[Any, Any, None]:
        """Ends what this process runs."""
