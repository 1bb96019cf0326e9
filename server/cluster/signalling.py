"""The interface between HTTP and sessions: what a request may ask of a session, wherever it runs.

``server.cluster.local`` answers in this process; ``server.cluster.front`` asks workers. Arguments
and results can be pickled. Every method raises a ``ServerError``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from server.auth.access import Caller
from server.rtc.data_channel import Say
from server.rtc.sdp_offer import PeerRole
from server.sessions.options import Options


@dataclass(frozen=True, slots=True)
class Order:
    """A session to be made, for ``caller``, who asks from ``address``."""

    options: Options
    caller: Caller
    address: str = ""
    trace: str = ""  # the request's id, in every log line that it causes
    resume: str = ""  # a token by which a session goes on that has moved


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about a session: who asks, and the token that was shown."""

    session: str
    bearer: str
    caller: Caller
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A session that peers may join."""

    id: str
    token: str
    avatar: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A peer that has joined. ``token`` is empty where the session had been made before."""

    session: str
    sdp: str
    peer: str
    token: str = ""


class Signalling(Protocol):
    """Sessions, and what is asked of them."""

    async def create(self, order: Order) -> Made:
        """A session without peers."""

    async def call(self, order: Order, sdp: str) -> Answered:
        """A session and its caller; nothing is left of it where the offer cannot be answered."""

    async def check_session(self, asked: Asked) -> None:
        """Whether the session is there, and is the asker's."""

    async def offer(self, asked: Asked, role: PeerRole, sdp: str) -> Answered:
        """A peer joins."""

    async def trickle(self, asked: Asked, role: PeerRole | None, peer: str, fragment: str) -> None:
        """A peer's candidates; without a role, the caller's."""

    async def leave(self, asked: Asked, role: PeerRole, peer: str) -> None:
        """A peer goes."""

    async def delete(self, asked: Asked) -> None:
        """Ends the session."""

    async def stats(self, asked: Asked) -> dict[str, Any]:
        """The session now, and its last second in numbers."""

    async def say(self, asked: Asked, text: Say, wait: bool) -> dict[str, Any]:
        """A text to be spoken; with ``wait``, returns when it has been."""

    def events(self, asked: Asked) -> AsyncGenerator[str, None]:
        """Events as the data channel has them, until the session is over."""

    async def listing(self, caller: Caller) -> list[dict[str, Any]]:
        """Running sessions that the caller may open."""

    async def owners(self) -> Mapping[str, str]:
        """The key behind each session; empty for a local caller's."""

    async def end(self, session: str, why: str) -> None:
        """Ends a session soon; harmless when there is none."""

    async def health(self) -> dict[str, Any]:
        """For ``/healthz``."""

    async def ready(self) -> int:
        """How many sessions fit. Raises ``Unavailable`` unless sessions are admitted."""

    async def metrics(self) -> bytes:
        """Prometheus text."""
