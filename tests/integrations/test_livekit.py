"""The avatar in a LiveKit room: real wheel, real agents package, and a double of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.importorskip("livekit.agents", reason="livekit-agents is not installed")

from livekit.agents import AgentSession

from benchmarks.agents.livekit_room import AGENT, AVATAR, KEY, SECRET, LiveKitRoom
from client.errors import Refused, Unreachable
from integrations.livekit import ContinuumAvatarSession
from integrations.livekit.worker import WorkerOptions
from tests.client.test_avatar import hum
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]


@pytest_asyncio.fixture
async def room(served: Served) -> AsyncIterator[LiveKitRoom]:
    async with LiveKitRoom(str(served.http.make_url("/")), "mira") as room:
        yield room


def avatar_session(room: LiveKitRoom, **options: str) -> ContinuumAvatarSession:
    worker = str(room.http.make_url("/"))
    credentials = {"livekit_url": room.server.url, "api_key": KEY, "api_secret": SECRET}
    return ContinuumAvatarSession(worker, **{**credentials, **options})


async def test_an_agent_speaks_through_the_avatar_and_learns_how_much_was_heard(
    room: LiveKitRoom, served: Served
) -> None:
    session, avatar = AgentSession(), avatar_session(room)
    async with asyncio.timeout(60):
        await avatar.start(session, room.room)
        room.use(session.output.audio)
        member = room.server.members[AVATAR]
        assert dict(member.info.attributes) == {"lk.publish_on_behalf": AGENT}
        assert {track.mime_type for track in member.info.tracks} == {"audio/opus", "video/VP8"}

        await room.say(hum(0.5), "whole")
        await room.played()
        assert room.started == ["whole"]
        assert room.told["whole"].position_ms == 500 and not room.told["whole"].interrupted

        await asyncio.sleep(0.2)  # what is on its way
        room.peer.forget()
        await room.say(hum(3.0), "cut", whole=False)
        await room.peer.hears(300)
        await room.interrupt()
        await room.say(hum(0.3), "reply")
        await room.played()
        cut, reply = room.told["cut"], room.told["reply"]
        assert cut.interrupted and 200 < cut.position_ms < 1500
        assert not reply.interrupted and reply.position_ms == 300
        while not room.peer.pictures:
            room.peer.more.clear()
            await room.peer.more.wait()
        await avatar.aclose()
        await asyncio.gather(*room.worker.running.values(), return_exceptions=True)
    assert not room.worker.running and not served.manager.sessions
    assert AVATAR not in room.server.members


async def test_the_avatar_leaves_when_its_agent_has_left(room: LiveKitRoom) -> None:
    async with asyncio.timeout(30):
        await avatar_session(room).start(AgentSession(), room.room)
        (running,) = room.worker.running.values()
        await room.room.disconnect()
        await running
    assert not room.worker.running


async def test_a_launch_that_cannot_be_is_refused_with_the_reason(room: LiveKitRoom) -> None:
    with pytest.raises(Refused, match="unknown-avatar"):
        await avatar_session(room, avatar="nobody").start(AgentSession(), room.room)
    with pytest.raises(ValueError, match="LIVEKIT_URL"):
        await avatar_session(room, livekit_url="").start(AgentSession(), room.room)
    for body in ("{", "[]", '{"url": "ftp://x", "token": ""}', '{"url": 1, "token": ""}'):
        async with room.http.post("/launch", data=body) as answer:
            assert answer.status == 400
    asked = {"url": "ws://127.0.0.1:9", "token": "none"}
    async with room.http.post("/launch", json=asked) as answer:
        assert answer.status == 502 and "room" in (await answer.json())["detail"]
    async with room.http.delete("/launch/none") as answer:
        assert answer.status == 404
    room.worker.options = WorkerOptions("http://127.0.0.1:9", rooms=0)
    async with room.http.post("/launch", json=asked) as answer:
        assert answer.status == 503 and answer.headers["Retry-After"]
    room.worker.options = WorkerOptions("http://127.0.0.1:9", key="the key")
    with pytest.raises(Refused, match="unauthorized"):
        await avatar_session(room).start(AgentSession(), room.room)
    with pytest.raises(Refused, match="nobody answers"):
        await avatar_session(room, key="the key").start(AgentSession(), room.room)
    gone = avatar_session(room)
    gone._worker = "http://127.0.0.1:9"
    with pytest.raises(Unreachable):
        await gone.start(AgentSession(), room.room)
