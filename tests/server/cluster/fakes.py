"""A worker's manager with the fake model, opened in the worker's process; and fronts of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp.test_utils import TestClient, TestServer

from server.api.app import build
from server.api.serve import HTTP
from server.avatars.catalog import Avatars
from server.cluster.fleet import Fleet
from server.cluster.front import Front
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_own import FakeOwn
from tests.fakes_server import FakePipeline, FakeSource


def open_fake(settings: Settings) -> SessionManager:
    """In place of ``server.bootstrap.open_server``."""
    source = FakeSource()
    return SessionManager(settings, FakePipeline(), Avatars(source, FakeOwn(source)))


@dataclass(slots=True)
class Fronted:
    """One front of a cluster, seen from both sides."""

    http: TestClient
    front: Front
    fleet: Fleet


@contextlib.asynccontextmanager
async def fronting(settings: Settings, slots: int = 1) -> AsyncIterator[Fronted]:
    """A front that serves, once its workers have so many slots free."""
    fleets: list[Fleet] = []
    fronts: list[Front] = []

    async def open_front(settings: Settings) -> Front:
        source = FakeSource()
        fleets.append(Fleet(settings, open_fake))
        fronts.append(Front(settings, Avatars(source, FakeOwn(source)), fleets[0], None))
        return fronts[0]

    server = TestServer(build(settings, open_front))
    await server.start_server(**HTTP)
    client = TestClient(server)
    try:
        await fleets[0].until(lambda: sum(r.free for r in fleets[0].rooms.values()) >= slots)
        yield Fronted(client, fronts[0], fleets[0])
    finally:
        await client.close()
