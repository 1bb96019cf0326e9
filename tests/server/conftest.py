"""A server on loopback with a fake pipeline, for each test that asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from server.api.app import build
from server.api.serve import HTTP
from server.avatars.catalog import Avatars
from server.sessions.session_manager import SessionManager
from server.settings import Settings
from tests.fakes_own import FakeOwn
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.documented import Documented


@dataclass(slots=True)
class Served:
    """A running server, seen from both sides."""

    http: TestClient
    manager: SessionManager
    pipeline: FakePipeline
    source: FakeSource


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    keys = str(tmp_path / "keys.sqlite")
    return Settings(slots=3, grace_s=2.0, drain_s=0.5, keys=keys)


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest_asyncio.fixture
async def served(settings: Settings, pipeline: FakePipeline) -> AsyncIterator[Served]:
    async with serving(settings, pipeline, FakeSource()) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(settings: Settings, pipeline: Any, source: Any) -> AsyncIterator[Served]:
    """A server that is ready, until the block ends."""
    managers: list[SessionManager] = []

    async def open_server(settings: Settings) -> SessionManager:
        managers.append(SessionManager(settings, pipeline, Avatars(source, FakeOwn(source))))
        return managers[0]

    app = build(settings, open_server)
    documented = Documented(app)
    server = TestServer(app)
    await server.start_server(**HTTP)
    client = TestClient(server)
    await asyncio.wait_for(managers[0].settled.wait(), 30)
    try:
        yield Served(client, managers[0], pipeline, source)
    finally:
        await client.close()
        assert documented.wrong == []
