"""A cluster on one machine, measured: real Ray, real fronts, real peers; and 1,000 simulated calls.

    python -m benchmarks.cluster bars [--json]       placement, last slot, kill -9, drain
    python -m benchmarks.cluster simulate [--json] [--plot FILE.png]

``bars`` runs three Ray nodes with workers of the tests' fake model. In ``simulate`` model and
media are replaced by what they cost; placement, rooms, leases and tokens are the real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cluster_simulated
from server.auth.access import LOCAL
from server.auth.quota import Quota
from server.cluster import actors
from server.cluster.fleet import Fleet
from server.cluster.front import Front
from server.cluster.local import LocalSignalling
from server.cluster.room import worker_of
from server.cluster.signalling import Asked, Made, Order
from server.errors import NoSlot
from server.recordings.recordings import Recordings
from server.sessions.options import Options
from server.settings import Settings

ORDER = Order(Options("mira"), LOCAL)
NODES, SLOTS = 3, 4


def start(nodes: int, cores: int) -> Any:
    """A Ray cluster of so many nodes on this machine; its processes see this checkout."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(Path(__file__).parents[1]))
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(nodes):
        cluster.add_node(num_cpus=cores, object_store_memory=80_000_000, include_dashboard=False)
    about = {"log_to_driver": False, "configure_logging": False, "namespace": "continuum"}
    ray.init(cluster.address, **about)
    return cluster


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(seconds)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {k: round(ordered[min(last, int(v * len(ordered)))] * 1e3, 1) for k, v in ranks.items()}


async def placements(one: Front, other: Front, times: int) -> dict[str, Any]:
    """Sessions begin and end at two fronts, mostly with nearly every slot taken."""
    held: list[Made] = []
    took, refused, over = list[float](), 0, 0
    rng = random.Random(1)
    while len(took) < times:
        front = rng.choice((one, other))
        began = time.perf_counter()
        try:
            held.append(await front.create(ORDER))
            took.append(time.perf_counter() - began)
        except NoSlot:
            refused += 1
        over += sum(room.taken > room.total for room in one.rooms)
        while len(held) > rng.randrange(NODES * SLOTS - 3, NODES * SLOTS + 2):
            await _delete(one, held.pop(rng.randrange(len(held))))
    for made in held:
        await _delete(one, made)
    return {"placed": len(took), "refused": refused, "on_a_full_worker": over, "ms": spread(took)}


async def at_home(times: int) -> dict[str, float]:
    """The same sessions in this process."""
    from tests.server.cluster.fakes import open_fake

    manager = open_fake(Settings(slots=NODES * SLOTS))
    await manager.open()
    local = LocalSignalling(manager, Quota(0), Recordings(None, None))
    local.most_waiting = lambda: 0
    took = []
    for _ in range(times):
        began = time.perf_counter()
        made = await local.create(ORDER)
        took.append(time.perf_counter() - began)
        await local.delete(Asked(made.id, made.token, LOCAL))
    await manager.close()
    return spread(took)


async def _delete(front: Front, made: Made) -> None:
    await front.delete(Asked(made.id, made.token, LOCAL))


async def last_slot(one: Front, other: Front, fleets: Sequence[Fleet], times: int) -> Counter[int]:
    """How many of two fronts got the last slot, each time."""
    held = []
    while sum(room.free for room in one.rooms) > 1:
        held.append(await one.create(ORDER))
    won: Counter[int] = Counter()
    for _ in range(times):
        both = (one.create(ORDER), other.create(ORDER))
        found = await asyncio.gather(*both, return_exceptions=True)
        got = [each for each in found if isinstance(each, Made)]
        won[len(got)] += 1
        for made in got:
            await _delete(one, made)
        for front, fleet in zip((one, other), fleets, strict=True):
            await fleet.until(lambda front=front: sum(r.free for r in front.rooms) == 1)  # type: ignore[misc]
    for made in held:
        await _delete(one, made)
    return won


async def killed(fronted: Any, rounds: int, callers: int) -> dict[str, Any]:
    """Seconds from ``kill -9`` to the next picture of each caller, on its new connection."""
    gaps: list[float] = []
    lost = 0
    for _ in range(rounds):
        await fronted.fleet.until(lambda: _free(fronted) == NODES * SLOTS)
        async with called(fronted, callers) as calls:
            room = max(fronted.fleet.rooms.values(), key=lambda room: room.taken)
            hit = [call for call in calls if worker_of(_name(call)) == room.worker]
            began = time.monotonic()
            os.kill(room.pid, signal.SIGKILL)
            came = await asyncio.gather(*(_again(call, began) for call in hit))
            gaps += [gap for gap in came if gap is not None]
            lost += sum(gap is None for gap in came)
    return {"callers": len(gaps) + lost, "lost": lost, "ms": spread(gaps)}


async def drained(fronted: Any, rounds: int, callers: int) -> dict[str, Any]:
    """Calls on workers that are drained: which were dropped, and for how long pictures stood."""
    gaps: list[float] = []
    dropped = 0
    for _ in range(rounds):
        await fronted.fleet.until(lambda: _free(fronted) == NODES * SLOTS)
        async with called(fronted, callers) as calls:
            room = max(fronted.fleet.rooms.values(), key=lambda room: room.taken)
            hit = [call for call in calls if worker_of(_name(call)) == room.worker]
            watching = [asyncio.create_task(_again(call, time.monotonic(), True)) for call in hit]
            await fronted.fleet.drain(room.worker)
            came = await asyncio.gather(*watching)
            gaps += [gap for gap in came if gap is not None]
            dropped += sum(
                gap is None or c.ended.is_set() for gap, c in zip(came, hit, strict=True)
            )
    return {"calls": len(gaps) + dropped, "dropped": dropped, "ms": spread(gaps)}


def _free(fronted: Any) -> int:
    return sum(room.free for room in fronted.fleet.rooms.values())


def _name(call: Any) -> str:
    return str(call.session).rsplit("/", 1)[-1]


async def _again(call: Any, since_s: float, from_last: bool = False) -> float | None:
    """Until the first picture of the next connection; from the last one before it, if asked."""
    first = asyncio.get_running_loop().create_future()
    last = [since_s]

    def picture(seen: Any) -> None:
        if not call.moves:
            last[0] = time.monotonic()
        elif not first.done():
            first.set_result(time.monotonic())

    call.on_picture = picture
    try:
        at: float = await asyncio.wait_for(first, 20)
    except TimeoutError:
        return None
    return at - (last[0] if from_last else since_s)


class called:  # noqa: N801  a context, as ``contextlib`` names them
    """So many callers that are connected and see pictures."""

    def __init__(self, fronted: Any, count: int) -> None:
        self._url, self._count = str(fronted.http.make_url("/")), count

    async def __aenter__(self) -> list[Any]:
        from client.caller import Caller
        from client.microphone import Microphone

        quiet = np.zeros(48_000, np.int16)
        self._calls = [
            Caller(self._url, Microphone(quiet, repeat=True)) for _ in range(self._count)
        ]
        for call in self._calls:
            await call.__aenter__()
            seen = asyncio.Event()
            call.on_picture = lambda picture, seen=seen: seen.set()  # type: ignore[misc]
            await call.start("mira")
            await asyncio.wait_for(seen.wait(), 20)
        return self._calls

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.gather(*(call.__aexit__(None, None, None) for call in self._calls))


PARTS = ("placements", "killed", "drained", "last_slot")


async def bars(times: int, parts: Sequence[str]) -> dict[str, Any]:
    """The bars of a cluster of three nodes, each printed when it is known."""
    from tests.server.cluster.fakes import fronting

    settings = Settings(
        cluster="auto",
        slots=SLOTS,
        cores=2,
        drain_s=5.0,
        waiting_per_client=10_000,
        grace_s=3600,  # nobody joins what is only placed
        keys=f"{tempfile.mkdtemp()}/keys",
    )
    found: dict[str, Any] = {}
    async with fronting(settings, NODES * SLOTS) as one, fronting(settings, NODES * SLOTS) as two:
        for part in parts:
            if part == "placements":
                found["local_create_ms"] = await at_home(times)
                found[part] = await placements(one.front, two.front, times)
            elif part == "last_slot":
                fleets = (one.fleet, two.fleet)
                found[part] = dict(await last_slot(one.front, two.front, fleets, times * 5))
            elif part == "killed":
                found[part] = await killed(one, max(1, times // 25), 3)
            else:
                found[part] = await drained(one, max(1, times // 11), 8)
            print(json.dumps({part: found[part]}), flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("bars", "simulate"))
    parser.add_argument("--times", type=int, default=200, help="placements; the rest in proportion")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the bars")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    given = parser.parse_args(argv)
    if given.what == "bars":
        cluster = start(NODES, 2)
        found = asyncio.run(bars(given.times, given.parts))
    else:
        cluster = start(1, given.workers)
        found = asyncio.run(
            cluster_simulated.simulate(given.workers, given.seconds, spread, given.plot)
        )
    print(json.dumps(found) if given.json else json.dumps(found, indent=2), flush=True)
    actors.leave()
    cluster.shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
