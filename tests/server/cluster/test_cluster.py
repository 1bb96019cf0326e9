"""Sessions on workers of a real Ray cluster, called by real peers through a front."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from client.caller import Caller as Client
from client.microphone import Microphone
from server.auth.access import LOCAL
from server.cluster.room import worker_of
from server.cluster.signalling import Asked, Made, Order
from server.errors import NoSlot
from server.sessions.options import Options
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


async def test_the_python_client_is_called_again_by_itself_when_a_worker_is_killed(
    cluster_settings: Settings,
) -> None:
    async with fronting(cluster_settings, SLOTS) as fronted:
        url = str(fronted.http.make_url("/"))
        async with Client(url, Microphone(np.zeros(48_000, np.int16), repeat=True)) as call:
            seen = asyncio.Event()
            call.on_picture = lambda picture: seen.set() if call.moves else None
            await call.start("mira", prompt="calm")
            first = call.session
            os.kill(fronted.fleet.rooms[worker_of(first.rsplit("/", 1)[-1])].pid, signal.SIGKILL)
            await asyncio.wait_for(seen.wait(), 20)
            assert call.session != first and not call.ended.is_set()
            assert (await call.describe())["state"] == "live"


async def test_a_drained_worker_ends_with_no_call_dropped(cluster_settings: Settings) -> None:
    async with fronting(cluster_settings, SLOTS + 1) as fronted:
        url = str(fronted.http.make_url("/"))
        async with Client(url, Microphone(np.zeros(48_000, np.int16), repeat=True)) as call:
            seen = asyncio.Event()
            call.on_picture = lambda picture: seen.set() if call.moves else None
            await call.start("mira")
            drained = worker_of(call.session.rsplit("/", 1)[-1])
            await asyncio.wait_for(fronted.fleet.drain(drained), 20)
            await asyncio.wait_for(seen.wait(), 20)
            assert call.moves == 1 and not call.ended.is_set()
            assert worker_of(call.session.rsplit("/", 1)[-1]) != drained


async def test_of_two_fronts_one_gets_the_last_slot(cluster_settings: Settings) -> None:
    order, settings = (
        Order(Options("mira"), LOCAL),
        replace(cluster_settings, waiting_per_client=99, grace_s=60.0),
    )
    async with fronting(settings, SLOTS) as one, fronting(settings) as other:
        both = [one.front, other.front]
        held: list[Made] = []
        while sum(room.free for room in one.front.rooms) > 1:
            held.append(await one.front.create(order))
        for _ in range(5):
            found = await asyncio.gather(*(f.create(order) for f in both), return_exceptions=True)
            (won,) = [each for each in found if isinstance(each, Made)]
            (lost,) = [each for each in found if not isinstance(each, Made)]
            assert isinstance(lost, NoSlot) and int(lost.headers["Retry-After"]) >= 1
            await one.front.delete(Asked(won.id, won.token, LOCAL))
            await one.fleet.until(lambda: sum(room.free for room in one.front.rooms) == 1)
            await other.fleet.until(lambda: sum(room.free for room in other.front.rooms) == 1)
        for made in held:
            await one.front.delete(Asked(made.id, made.token, LOCAL))
