"""1,000 calls on 100 workers: what placement does when model and media are what they cost.

A simulated session takes a slot, waits for as long as opening one took, and lasts. Arrivals are
Poisson, lengths log-normal. Workers are killed and drained meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from server.auth import session_tokens
from server.auth.access import LOCAL
from server.avatars.catalog import Avatars
from server.cluster.fleet import Fleet
from server.cluster.front import Front
from server.cluster.signalling import Asked, Order
from server.errors import NoSlot, ServerError, UnknownSession
from server.rtc import data_channel
from server.sessions.admission import Slots
from server.sessions.options import Options
from server.sessions.state import State
from server.settings import Settings
from tests.fakes_server import FakeSource

OPEN_S = 0.015  # to open a session of mini whose avatar is in memory; docs/LOG.md, "Cluster"
SLOTS, CALLS, MEAN_S = 11, 1000, 40.0


class SimulatedSession:
    """A session without model, media and peers."""

    def __init__(self, options: Options, worker: str) -> None:
        self.id, self.token = session_tokens.new_id(worker), session_tokens.new_token()
        self.options, self.state, self.limits = options, State.LIVE, SimpleNamespace(worker=worker)
        self.receiver = self.speech = SimpleNamespace(speaking=False, busy=False)
        self.over, self.began = asyncio.Event(), time.monotonic()
        self.listeners: set[Callable[[str], None]] = set()
        self.participants: tuple[Any, ...] = ()
        self.size, self.timing = (512, 512), SimpleNamespace(fps=25)
        self.on_joined: Callable[[], None] = lambda: None
        self.on_ended: Callable[[SimulatedSession], None] = lambda session: None

    @property
    def running(self) -> bool:
        return not self.over.is_set()

    @property
    def played(self) -> int:
        return int((time.monotonic() - self.began) * 16_000)

    def tell(self, message: str) -> None:
        for listen in list(self.listeners):
            listen(message)

    async def end(self, why: str) -> None:
        if not self.over.is_set():
            self.over.set()
            self.on_ended(self)


class SimulatedManager:
    """As much of a ``SessionManager`` as a worker uses."""

    most_waiting, worker, problem = 0, "", None

    def __init__(self, settings: Settings) -> None:
        self.settings, self.slots = settings, Slots()
        self.avatars = SimpleNamespace(ready=("mira",))
        self.settled = asyncio.Event()
        self.sessions: list[SimulatedSession] = []

    async def open(self) -> None:
        self.slots.open(self.settings.slots)

    async def create(self, options: Options) -> SimulatedSession:
        session = SimulatedSession(options, self.worker)
        self.slots.take(session.id)
        await asyncio.sleep(OPEN_S)
        self.sessions.append(session)
        session.on_ended = self._ended
        return session

    def session(self, name: str) -> SimulatedSession:
        for session in self.sessions:
            if session.id == name:
                return session
        raise UnknownSession(name)

    def _ended(self, session: SimulatedSession) -> None:
        self.sessions.remove(session)
        self.slots.give_back(session.id)


def open_simulated(settings: Settings) -> Any:
    """In place of ``server.bootstrap.open_server``."""
    return SimulatedManager(settings)


class Run:
    """Callers at two fronts, and what became of them."""

    def __init__(self, fronts: Sequence[tuple[Front, Fleet]], seed: int = 1) -> None:
        self.fronts, self.rng = fronts, random.Random(seed)
        self.took: list[float] = []
        self.rows: list[tuple[float, int, int, int]] = []  # seconds, running, full workers, moved
        self.count: Counter[str] = Counter()
        self.killed: set[str] = set()
        self.began = time.monotonic()

    async def call(self) -> None:
        """One caller, until the length of the call is over, wherever it goes on."""
        ends = time.monotonic() + self.rng.lognormvariate(0, 0.8) * MEAN_S / 1.377
        front, _ = self.rng.choice(self.fronts)
        resume = ""
        while time.monotonic() < ends:
            began = time.perf_counter()
            order = Order(Options("mira", seed=self.rng.randrange(1 << 20)), LOCAL, resume=resume)
            try:
                made = await front.create(order)
            except NoSlot:
                self.count["refused"] += 1
                return
            self.took.append(time.perf_counter() - began)
            self.count["moved" if resume else "placed"] += 1
            asked = Asked(made.id, made.token, LOCAL)
            resume = await self._until(front, asked, ends)
            if not resume:
                return

    async def _until(self, front: Front, asked: Asked, ends: float) -> str:
        """The resume token, where the session moved before its time."""
        following = asyncio.create_task(_moved(front, asked))
        done, _ = await asyncio.wait({following}, timeout=ends - time.monotonic())
        if done:
            found = following.result()
            if not found:
                self.count["lost"] += 1
            return found
        following.cancel()
        with contextlib.suppress(ServerError):
            await front.delete(asked)
        return ""

    async def arrive(self, seconds: float, rate: float) -> None:
        """Callers, until the time is over."""
        ends = time.monotonic() + seconds
        calls: set[asyncio.Task[None]] = set()
        for _ in range(int(CALLS * 0.95)):
            calls.add(asyncio.create_task(self.call()))
            await asyncio.sleep(0.008)
        while time.monotonic() < ends:
            calls.add(asyncio.create_task(self.call()))
            await asyncio.sleep(self.rng.expovariate(rate))
        for call in calls:
            call.cancel()
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, Exception):
                self.count[f"failed: {type(result).__name__}"] += 1

    async def watch(self) -> None:
        """Twice a second: how many run, and whether a worker has more than its slots."""
        front = self.fronts[0][0]
        while True:
            await asyncio.sleep(0.5)
            rooms = front.rooms
            self.count["over"] += sum(room.taken > room.total for room in rooms)
            running, full = sum(r.taken for r in rooms), sum(r.free == 0 for r in rooms)
            now = time.monotonic() - self.began
            self.rows.append((round(now, 1), running, full, self.count["moved"]))

    async def weather(self, seconds: float) -> None:
        """Three workers are killed and three drained, one after the other."""
        import os
        import signal

        for number in range(6):
            await asyncio.sleep(seconds / 8)
            _, fleet = self.fronts[0]
            room = self.rng.choice([room for room in fleet.rooms.values() if room.taken])
            if number % 2:
                await fleet.drain(room.worker)
                self.count["drained_workers"] += 1
            else:
                self.count["killed_workers"] += 1
                self.count["on_killed_workers"] += len(room.seats)
                os.kill(room.pid, signal.SIGKILL)


async def _moved(front: Front, asked: Asked) -> str:
    async for event in front.events(asked):
        fields = data_channel.parse_object(event, 1 << 16)
        if fields["type"] == "session_moved":
            return str(fields["resume"])
    return ""


async def simulate(
    workers: int,
    seconds: float,
    spread: Callable[[Sequence[float]], dict[str, float]],
    plot: Path | None,
) -> dict[str, Any]:
    """The whole of it, as a table's row and a plot."""
    settings = Settings(
        cluster="auto",
        slots=SLOTS,
        cores=1,
        workers=workers,
        drain_s=2.0,
        waiting_per_client=10_000,
    )
    fronts = []
    began = time.monotonic()
    for _ in range(2):
        fleet = Fleet(settings, open_simulated)
        front = Front(settings, Avatars(FakeSource()), fleet, None)
        await front.open()
        fronts.append((front, fleet))
    for _, fleet in fronts:
        await fleet.until(partial(_whole, fleet, workers))
    started_s = time.monotonic() - began
    print(f"{workers} workers after {started_s:.0f} s", flush=True)
    run = Run(fronts)
    helpers = [asyncio.create_task(work) for work in (run.watch(), run.weather(seconds))]
    await run.arrive(seconds, CALLS / MEAN_S)
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
    for front, _ in fronts:
        await front.close()
    if plot is not None:
        draw(run, plot)
    most = max(row[1] for row in run.rows)
    about = {"workers": workers, "most_running": most, "seconds": seconds}
    return {**about, **run.count, "placement_ms": spread(run.took)}


def _whole(fleet: Fleet, workers: int) -> bool:
    return sum(room.total for room in fleet.rooms.values()) >= workers * SLOTS


def draw(run: Run, path: Path) -> None:
    """Sessions, full workers and moves over time; placement as a histogram."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6))
    seconds, running, full, moved = zip(*run.rows, strict=True)
    above.plot(seconds, running, label="sessions")
    above.plot(seconds, full, label="workers without a free slot")
    above.plot(seconds, moved, label="sessions that moved, so far")
    above.set_xlabel("seconds")
    above.legend()
    below.hist([value * 1e3 for value in run.took], bins=60)
    below.set_xlabel("placement, ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
