"""Many calls leave nothing behind; a shutdown is graceful; a broken start is told."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from server.api.app import build
from server.avatars.catalog import Avatars
from server.errors import Draining
from server.rtc.aiortc_adapter import Peer
from server.sessions.options import Options
from server.sessions.session import Session
from server.sessions.session_manager import SessionManager
from server.sessions.state import State
from server.sessions.stream_runner import StreamRunner
from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource, FakeStream
from tests.server.caller import calling, tone
from tests.server.conftest import Served


def alive() -> set[int]:
    gc.collect()
    kinds = (Session, Peer, StreamRunner)
    return {id(thing) for thing in gc.get_objects() if issubclass(type(thing), kinds)}


async def test_calls_leave_no_task_no_thread_and_no_object_behind(served: Served) -> None:
    async def one_call() -> None:
        async with calling(served.http, tone) as caller:
            await caller.until(lambda: caller.pictures)
            await served.http.delete(caller.session, headers=caller.auth)

    others = alive()  # of other tests
    await one_call()
    for _ in range(4):
        await one_call()
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith("s-")]
    assert not [t.name for t in threading.enumerate() if t.name.endswith("-decoder")]
    assert served.manager.slots.taken == 0
    for _ in range(100):  # connections close in tasks of their own
        await asyncio.sleep(0)
    assert alive() <= others


async def test_a_manager_that_is_closed_leaves_no_thread(settings: Settings) -> None:
    before = set(threading.enumerate())
    manager = SessionManager(settings, FakePipeline(), Avatars(FakeSource()))
    await manager.open()
    await (await manager.create(Options("mira"))).end("enough")
    await manager.close()
    left = {t.name for t in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio")} == set()


async def test_draining_refuses_newcomers_tells_callers_and_waits_for_them(served: Served) -> None:
    async with calling(served.http) as caller:
        await caller.event("ready")
        draining = asyncio.create_task(served.manager.drain())
        await caller.event("notice", code="session_ending")
        ready = await served.http.get("/readyz")
        assert ready.status == 503
        assert (await ready.json(content_type=None))["type"] == "/problems/draining"
        refused = await served.http.post("/v1/sessions", json={"avatar": "mira"})
        assert refused.status == 503
        assert (await served.http.delete(caller.session, headers=caller.auth)).status == 200
        await asyncio.wait_for(draining, 1)


class TestImpatientDrain:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(slots=1, drain_s=0.1)

    async def test_a_drain_waits_only_so_long_and_then_ends_the_calls(self, served: Served) -> None:
        async with calling(served.http) as caller:
            await caller.event("ready")
            session = served.manager.sessions[0]
            await served.manager.drain()
            assert session.state is State.LIVE
            await served.manager.close()
            assert session.state is State.ENDED
            error = await caller.event("error", code="session_ended")
            assert "server stops" in error["message"]


async def test_a_warm_up_that_fails_is_told_and_nobody_is_let_in() -> None:
    pipeline, source, managers = FakePipeline(), FakeSource(), []
    pipeline.behaviour.failure = RuntimeError("weights are missing")

    async def open_server(settings: Settings) -> SessionManager:
        managers.append(SessionManager(settings, pipeline, Avatars(source)))
        return managers[0]

    async with TestClient(TestServer(build(Settings(), open_server))) as http:
        await managers[0].settled.wait()
        health = await (await http.get("/healthz")).json()
        assert health["status"] == "failed" and "weights are missing" in health["problem"]
        assert (await http.get("/readyz")).status == 503
        refused = await http.post("/v1/sessions", json={"avatar": "mira"})
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")


async def test_a_session_never_takes_an_illegal_step(served: Served) -> None:
    await served.http.post("/v1/sessions", json={"avatar": "mira"})
    session = served.manager.sessions[0]
    with pytest.raises(ValueError, match="waiting cannot become ended"):
        session._become(State.ENDED)


async def test_a_session_that_nobody_waits_for_any_more_leaves_no_stream_and_no_slot(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, began, make = threading.Event(), threading.Event(), served.pipeline.open

    def slowly(*arguments: object, **named: object) -> FakeStream:
        began.set()
        assert go.wait(20)
        return make(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(FakePipeline, "open", lambda self, *a, **k: slowly(*a, **k))
    creating = asyncio.create_task(served.manager.create(Options("mira")))
    assert await asyncio.to_thread(began.wait, 20)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    go.set()
    await served.manager._engine.call(lambda: None)  # what was begun
    await served.manager._engine.call(lambda: None)  # and its end
    assert served.pipeline.streams[-1].closed and served.manager.slots.taken == 0


async def test_a_session_that_is_opened_while_the_server_closes_is_refused_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, opened = threading.Event(), threading.Event(), FakePipeline.open

    def slowly(*arguments: Any, **options: Any) -> FakeStream:
        begun.set()
        assert go.wait(30)
        return opened(*arguments, **options)

    pipeline = FakePipeline()
    manager = SessionManager(settings, pipeline, Avatars(FakeSource()))
    await manager.open()
    monkeypatch.setattr(FakePipeline, "open", slowly)
    creating = asyncio.create_task(manager.create(Options("mira")))
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go.set()
    with pytest.raises(Draining):
        await creating
    await closing
    assert not manager.sessions and not manager.slots.taken
    assert all(stream.closed for stream in pipeline.streams)
