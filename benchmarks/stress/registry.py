"""The registry goes away under running sessions at a moment that the seed chooses, and comes back.

A server in process with a real registry and a pipeline that draws a pattern. The database is locked
by somebody else, its disk takes no more, or its file gives errors. Meanwhile running sessions go
on and new ones are told 503 ``registry_unavailable``; afterwards new ones come in, the log has a
beginning and an end of each, and nothing is left.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from aiohttp.test_utils import TestClient, TestServer

from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry, RegistryOverrides, database
from pipeline.media.image_file import Bounds
from server.api.app import build
from server.api.serve import HTTP
from server.avatars.catalog import Avatars
from server.avatars.sources import AvatarSources, Bundled
from server.consent import monitor
from server.consent.monitor import ConsentMonitor
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_server import FakeAvatar, FakePipeline

RUNNING: Final = 2
ASKED: Final = 3  # times that somebody asks for a session while the registry is away
LOOK_S: Final = 0.02  # how often grants are asked, instead of 0.25 s
LOCK_S: Final = 0.2  # how long a write waits for a lock, instead of 10 s
PATIENCE_S: Final = 30.0


class _Pipeline(FakePipeline):
    def bundled(self, avatar: str, grant: object, size: object = None) -> FakeAvatar:
        return FakeAvatar(avatar)


@dataclass(frozen=True, slots=True)
class _Server:
    http: TestClient[Any, Any]
    manager: SessionManager
    registry: Registry
    path: Path
    pipeline: FakePipeline


def run(rounds: int, seed: int) -> dict[str, int]:
    """Counts of refusals and of what was left. Raises ``AssertionError`` with what went wrong."""
    return asyncio.run(_run(rounds, random.Random(seed)))


async def _run(rounds: int, rng: random.Random) -> dict[str, int]:
    counts = Counter(rounds=rounds, tasks=0, streams=0, slots=0)
    async with _serving() as server:
        for _ in range(rounds):
            await _round(server, rng, counts)
            counts.update(_left(server))
    return dict(counts)


async def _round(server: _Server, rng: random.Random, counts: Counter[str]) -> None:
    running = [await _opened(server) for _ in range(RUNNING)]
    away = rng.choice(_OUTAGES)
    with away(server):
        for _ in range(ASKED):
            await asyncio.sleep(rng.uniform(0.0, 0.2))
            status, told = await _ask(server)
            assert (status, told.get("code")) == (503, "registry_unavailable"), (
                f"a session was asked for while the registry was {away.__name__}: {status} {told}"
            )
            counts["refused"] += 1
        performing = [session.id for session in server.manager.sessions if session.running]
        assert {one["id"] for one in running} == set(performing), "a running session ended"
    running.append(await _opened(server))
    for one in running:
        auth = {"Authorization": f"Bearer {one['token']}"}
        async with server.http.delete(f"/v1/sessions/{one['id']}", headers=auth) as answer:
            assert answer.status < 300, answer.status
    log = server.registry.log
    await _until(
        lambda: (
            not server.manager.slots.taken
            and not log.unanswered("session.started", "session.ended")
        )
    )
    started = [entry.session for entry in log.unanswered("session.started", "nothing")]
    assert {one["id"] for one in running} <= set(started), "a session is not in the log"
    assert log.verify() > 0
    counts[away.__name__.strip("_")] += 1


async def _ask(server: _Server) -> tuple[int, dict[str, Any]]:
    async with server.http.post("/v1/sessions", json={"avatar": "mira"}) as answer:
        return answer.status, await answer.json(content_type=None)


async def _opened(server: _Server) -> dict[str, Any]:
    """A session, once there may be one again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status, told = await _ask(server)
            if status == 201:
                return told
            assert status == 503, f"{status} {told}"
            await asyncio.sleep(LOOK_S)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  it is the registry that changes
            await asyncio.sleep(LOOK_S)


def _left(server: _Server) -> dict[str, int]:
    own = [task for task in asyncio.all_tasks() if task.get_name().startswith("s-")]
    open_ones = sum(not stream.closed for stream in server.pipeline.streams)
    server.pipeline.streams.clear()
    return {"tasks": len(own), "streams": open_ones, "slots": server.manager.slots.taken}


@contextmanager
def _locked(server: _Server) -> Iterator[None]:
    """Somebody else writes, and does not come to an end."""
    with closing(sqlite3.connect(server.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _full(server: _Server) -> Iterator[None]:
    """No file of this process may grow, nor be written to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _gone(server: _Server) -> Iterator[None]:
    """The file gives errors."""
    fails = mock.Mock(side_effect=OSError("input/output error"))
    with mock.patch.object(server.registry.database._changes, "revision", fails):
        yield


_OUTAGES: Final = (_locked, _full, _gone)


@asynccontextmanager
async def _serving() -> AsyncIterator[_Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(monitor, "LOOK_S", LOOK_S),
        mock.patch.object(database, "_WAIT_S", LOCK_S),
    ):
        path = Path(folder) / "registry.sqlite"
        registry = Registry(path, setup=RegistryOverrides(grace_s=PATIENCE_S))
        pipeline = _Pipeline()
        catalog = AvatarCatalog(ConsentGate(registry), Bounds())
        source = AvatarSources(Bundled(pipeline, catalog), pipeline, catalog)
        settings = Settings(slots=RUNNING + 2, keys=str(Path(folder) / "keys.sqlite"))
        managers: list[SessionManager] = []

        async def open_server(settings: Settings) -> SessionManager:
            watching = ConsentMonitor(registry)
            managers.append(SessionManager(settings, pipeline, Avatars(source), watching))
            return managers[0]

        server = TestServer(build(settings, open_server))
        await server.start_server(**HTTP)
        async with TestClient(server) as http:
            await asyncio.wait_for(managers[0].settled.wait(), PATIENCE_S)
            pipeline.streams.clear()
            yield _Server(http, managers[0], registry, path, pipeline)
