"""What a worker says of itself, and which worker a session is placed on. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from server.sessions.options import Options

OPEN: Final = "open"
WARMING: Final = "warming"
FAILED: Final = "failed"
RETRY_S: Final = (1, 60)  # the least and the most that a refused caller is told to wait


@dataclass(frozen=True, slots=True)
class Seat:
    """A running session. ``at`` is when ``media_time`` was read, in seconds since the epoch."""

    id: str
    options: Options
    state: str
    media_time: int
    at: float
    owner: str = ""

    def describe(self, worker: str) -> dict[str, object]:
        """``GET /v1/sessions``."""
        return {
            "id": self.id,
            "avatar": self.options.avatar,
            "state": self.state,
            "media_time": self.media_time,
            "worker": worker,
        }


@dataclass(frozen=True, slots=True)
class Room:
    """One worker, now."""

    worker: str
    node: str = ""
    pid: int = 0
    model: str = ""
    door: str = WARMING  # ``AdmissionState``
    problem: str = ""  # why its warm-up failed
    total: int = 0
    taken: int = 0
    ready: tuple[str, ...] = ()  # avatars in memory
    seats: tuple[Seat, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)  # of ``Quota``
    mean_s: float = 0.0  # length of the sessions that ended last; 0 before the first
    revision: int = 0

    @property
    def settled(self) -> bool:
        """Whether its warm-up has ended, well or not."""
        return self.door != WARMING

    @property
    def free(self) -> int:
        """Sessions that fit now."""
        return max(0, self.total - self.taken) if self.door == OPEN else 0


def best(rooms: Iterable[Room], avatar: str, refused: Collection[str] = ()) -> str | None:
    """The worker to ask: one that has the avatar ready, then the one with the largest share free.

    None where no worker has room, those aside that have ``refused`` already.
    """
    fit = [room for room in rooms if room.free > 0 and room.worker not in refused]
    if not fit:
        return None
    return max(fit, key=lambda r: (avatar in r.ready, r.free / r.total, r.worker)).worker


def retry_after_s(rooms: Iterable[Room]) -> int:
    """When a slot is likely to be free: mean length of a session over the number that run."""
    running = [room for room in rooms if room.taken]
    taken = sum(room.taken for room in running)
    lengths = [room.mean_s for room in running if room.mean_s > 0]
    if not taken or not lengths:
        return 5
    least, most = RETRY_S
    return min(max(math.ceil(sum(lengths) / len(lengths) / taken), least), most)


def counted(rooms: Iterable[Room]) -> Counter[str]:
    """What all workers' sessions count for."""
    total: Counter[str] = Counter()
    for room in rooms:
        total.update(room.counts)
    return total


def worker_of(session: str) -> str:
    """The worker that the id of a session names; empty in one of a server by itself."""
    parts = session.split("-")
    return parts[1] if len(parts) == 3 else ""
