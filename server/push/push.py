"""One push: a session sent to one address, tried again when the connection fails.

A target that refuses ends it; one that is away or breaks off is tried again, eight times in a row
at most. The session counts as attended meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

RETRY_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
Sleep = Callable[[float], Awaitable[None]]


class PushState(StrEnum):
    """What a push does now."""

    CONNECTING = "connecting"
    LIVE = "live"
    RETRYING = "retrying"
    FAILED = "failed"


class Refused(Exception):
    """The target will not have it; trying again is of no use."""


class Broken(Exception):
    """The connection could not be made, or has ended."""


class Target(Protocol):
    """Where to, and how."""

    async def run(self, live: Callable[[], None]) -> None:
        """Sends until it raises ``Refused`` or ``Broken``; calls ``live`` once media flows."""


@dataclass(slots=True)
class Push:
    """A push and how it goes."""

    url: str
    target: Target
    on_state: Callable[[Push], None] = lambda push: None
    sleep: Sleep = asyncio.sleep
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    state: PushState = PushState.CONNECTING
    problem: str = ""
    tries: int = 0  # since it was live

    def describe(self) -> dict[str, object]:
        """As JSON; of the address no more than whose it is, for keys stand in paths."""
        return {
            "id": self.id,
            "url": shown(self.url),
            "state": self.state.value,
            "tries": self.tries,
            "problem": self.problem,
        }

    async def run(self) -> None:
        """Until the target refuses, or was tried often enough."""
        while True:
            self.tries += 1
            try:
                await self.target.run(self._live)
            except Refused as refusal:
                self.problem = str(refusal)
                break
            except Broken as failure:
                self.problem = str(failure)
            if self.tries >= len(RETRY_S):
                break
            self._become(PushState.RETRYING)
            await self.sleep(RETRY_S[max(self.tries - 1, 0)])
        self._become(PushState.FAILED)

    def _live(self) -> None:
        self.tries, self.problem = 0, ""
        self._become(PushState.LIVE)

    def _become(self, state: PushState) -> None:
        self.state = state
        log.info("push to %s: %s %s", shown(self.url), state.value, self.problem)
        self.on_state(self)


def shown(url: str) -> str:
    """Scheme and host of an address."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"
