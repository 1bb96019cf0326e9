"""Sessions on workers of a real Ray cluster, called by real peers through a front."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from server.cluster.room import worker_of
from server.settings import Settings
from tests.server.caller import Caller, calling
from tests.server.cluster.conftest import SLOTS, WORKERS
from tests.server.cluster.fakes import Fronted, fronting

pytestmark = pytest.mark.cluster


async def events_of(fronted: Fronted, caller: Caller) -> asyncio.Task[list[str]]:
    """The kinds of events that a session's stream had until it ended; the last one is whole."""

    async def read() -> list[str]:
        async with fronted.http.get(caller.session + "/events", headers=caller.auth) as answer:
            assert answer.status == 200
            opened.set()
            return [line.decode()[6:] async for line in answer.content if line.strip()]

    opened = asyncio.Event()
    task = asyncio.create_task(read())
    await opened.wait()
    return task


async def test_a_call_is_answered_by_a_worker_and_heard_of_at_every_front(
    cluster_settings: Settings,
) -> None:
    async with fronting(cluster_settings) as one, fronting(cluster_settings) as other:
        async with calling(one.http) as caller:
            await caller.until(lambda: len(caller.pictures) > 5)
            name = caller.session.rsplit("/", 1)[-1]
            assert worker_of(name) in one.fleet.rooms
            seen = await (await other.http.get(caller.session, headers=caller.auth)).json()
            assert (seen["id"], seen["state"]) == (name, "live")
            await other.fleet.until(lambda: bool(other.front.sessions))
            listed = (await (await other.http.get("/v1/sessions")).json())["sessions"]
            assert [row["id"] for row in listed] == [name]
            refused = await other.http.get(caller.session, headers={"Authorization": "Bearer c_x"})
            assert refused.status == 401
            assert (await other.http.delete(caller.session, headers=caller.auth)).status == 200
        gone = await one.http.get(caller.session, headers=caller.auth)
        assert gone.status == 404


async def test_a_killed_workers_session_is_told_and_goes_on_at_another(
    cluster_settings: Settings,
) -> None:
    async with (
        fronting(cluster_settings, WORKERS * SLOTS) as fronted,
        calling(fronted.http, seed="7") as caller,
    ):
        await caller.until(lambda: len(caller.pictures) > 5)
        told = await events_of(fronted, caller)
        room = fronted.fleet.rooms[worker_of(caller.session.rsplit("/", 1)[-1])]
        os.kill(room.pid, signal.SIGKILL)
        moved = json.loads((await asyncio.wait_for(told, 10))[-1])
        assert moved["type"] == "session_moved"
        problem = await fronted.http.get(caller.session, headers=caller.auth)
        body = await problem.json(content_type="application/problem+json")
        assert (problem.status, body["type"]) == (410, "/problems/session-moved")
        async with calling(fronted.http, resume=moved["resume"]) as again:
            ready = await again.event("ready")
            assert ready["media_time"] > 0 and ready["avatar"] == "mira"
            await again.until(lambda: len(again.pictures) > 5)
            assert worker_of(again.session.rsplit("/", 1)[-1]) != room.worker
            once = Caller()
            once.watch()
            query = {"avatar": "mira", "resume": moved["resume"]}
            assert (await once.post(fronted.http, "/v1/calls", **query)).status == 422
            await once.close()
