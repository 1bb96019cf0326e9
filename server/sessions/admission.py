"""Admission: how many sessions this machine carries, and which are admitted. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from server.errors import Draining, NoSlot, NotReady

SHARE = 0.85  # of the machine that may be promised


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stream was measured to take, in seconds a step of ``step_s``."""

    generate_s: float  # on the engine's one thread
    media_s: float  # conversion, encoding, packets: on any core
    cores: int
    step_s: float = 0.080

    def slots(self) -> int:
        """Sessions that fit; at least one, for a slow machine still serves one, less well."""
        by_engine = SHARE * self.step_s / max(self.generate_s, 1e-6)
        by_cores = SHARE * self.step_s * self.cores / max(self.generate_s + self.media_s, 1e-6)
        return max(1, math.floor(min(by_engine, by_cores)))

    def describe(self) -> dict[str, float]:
        """Milliseconds a step, for ``/healthz``."""
        seconds = {"step": self.step_s, "generate": self.generate_s, "media": self.media_s}
        return {name: round(value * 1e3, 1) for name, value in seconds.items()}


class AdmissionState(Enum):
    """Whether sessions are let in."""

    WARMING = "warming"
    OPEN = "open"
    DRAINING = "draining"


class Slots:
    """Counts sessions. One slot is one session, with any number of viewers."""

    def __init__(self) -> None:
        self.door = AdmissionState.WARMING
        self.total = 0
        self._taken: set[str] = set()
        self._parked: dict[str, None] = {}  # nobody is there; whoever came first goes first

    @property
    def taken(self) -> int:
        """Sessions that hold a slot."""
        return len(self._taken) - len(self._parked)

    def open(self, total: int) -> None:
        """Warm-up is over and ``total`` sessions fit."""
        if self.door is not AdmissionState.WARMING:
            raise ValueError(f"expected {AdmissionState.WARMING}, got {self.door}")
        self.total, self.door = total, AdmissionState.OPEN

    def drain(self) -> None:
        """Admits no further sessions."""
        self.door = AdmissionState.DRAINING

    def check(self) -> None:
        """Raises ``NotReady`` or ``Draining`` unless sessions are admitted."""
        if self.door is AdmissionState.WARMING:
            raise NotReady(
                "The server is loading the model. Try again in a few seconds.", retry_after_s=2
            )
        if self.door is AdmissionState.DRAINING:
            raise Draining("This server is shutting down; ask another one.", retry_after_s=10)

    def take(self, session: str) -> str | None:
        """Gives ``session`` a slot; returns the parked session that has to go for it, if one has.

        Raises ``NoSlot``, ``NotReady`` or ``Draining``.
        """
        self.check()
        if self.taken >= self.total:
            raise NoSlot(
                f"All {self.total} slots are taken. Try again when a call has ended.",
                retry_after_s=5,
                slots=self.total,
            )
        self._taken.add(session)
        if len(self._taken) <= self.total:
            return None
        gone = next(iter(self._parked))
        self.give_back(gone)
        return gone

    def park(self, session: str) -> None:
        """Its peers may return, but a new session may take its slot."""
        if session in self._taken:
            self._parked[session] = None

    def resume(self, session: str) -> None:
        """They have come back."""
        self._parked.pop(session, None)

    def give_back(self, session: str) -> None:
        """The session has ended; giving a slot back twice is harmless."""
        self._taken.discard(session)
        self._parked.pop(session, None)
