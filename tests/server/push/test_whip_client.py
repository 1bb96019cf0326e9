"""Pushes by WHIP, to a media server of aiortc on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.conftest import Served, serving


class MediaServer:
    """Takes one stream by WHIP, and keeps what came."""

    def __init__(self) -> None:
        self.status = 201
        self.tokens: list[str] = []
        self.deleted = asyncio.Event()
        self.came: dict[str, asyncio.Future[Any]] = {}
        self.peer = RTCPeerConnection()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/whip", self.take)
        app.router.add_delete("/whip/1", self.end)
        return app

    async def take(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.status != 201:
            return web.Response(status=self.status)
        loop = asyncio.get_running_loop()
        self.came = {kind: loop.create_future() for kind in ("audio", "video")}
        self.peer = peer = RTCPeerConnection()
        peer.on("track", lambda track: self.watch(track))
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(
            status=201, text=peer.localDescription.sdp, content_type="application/sdp",
            headers={"Location": "/whip/1"},
        )  # fmt: skip

    def watch(self, track: Any) -> None:
        async def first() -> None:
            with suppress(MediaStreamError):  # the push has ended
                self.came[track.kind].set_result(await track.recv())

        task = asyncio.ensure_future(first())
        track.task = task  # kept, so that it is not collected

    async def end(self, request: web.Request) -> web.Response:
        self.deleted.set()
        return web.Response(status=200)


@pytest_asyncio.fixture
async def media() -> AsyncIterator[tuple[MediaServer, str]]:
    double = MediaServer()
    server = TestServer(double.app())
    await server.start_server()
    yield double, str(server.make_url("/whip"))
    await double.peer.close()
    await server.close()


@pytest_asyncio.fixture
async def pushing(settings: Settings) -> AsyncIterator[Served]:
    allowed = replace(settings, push_hosts=("127.0.0.1",))
    async with serving(allowed, FakePipeline(), FakeSource()) as found:
        yield found


async def begun(pushing: Served, url: str, token: str = "") -> tuple[str, str]:
    """The path of a session's pushes, and of the one that has begun."""
    made = await (await pushing.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    path = f"/v1/sessions/{made['id']}/push"
    pushing.http.session.headers["Authorization"] = f"Bearer {made['token']}"
    answer = await pushing.http.post(path, json={"url": url, "token": token})
    assert answer.status == 201, await answer.text()
    return path, f"{path}/{(await answer.json())['id']}"


async def until(pushing: Served, path: str, state: str) -> dict[str, Any]:
    """The push as it is described, once it is in this state."""
    async with asyncio.timeout(20):
        while True:
            now = await (await pushing.http.get(path)).json()
            if now["state"] == state:
                return dict(now)
            await asyncio.sleep(0.02)


async def test_picture_and_sound_arrive_until_the_push_is_deleted(
    pushing: Served, media: tuple[MediaServer, str]
) -> None:
    double, url = media
    path, push = await begun(pushing, url, "t0ken")
    await until(pushing, push, "live")
    picture = await asyncio.wait_for(double.came["video"], 20)
    sound = await asyncio.wait_for(double.came["audio"], 20)
    assert (picture.width, picture.height) == (256, 256) and sound.sample_rate == 48_000
    assert double.tokens == ["Bearer t0ken"]
    state = await (await pushing.http.get(path.removesuffix("/push"))).json()
    assert state["state"] == "live", "who is pushed is attended"
    assert (await pushing.http.delete(push)).status == 204
    assert double.deleted.is_set()
    assert await (await pushing.http.get(path)).json() == {"pushes": []}


async def test_a_wrong_token_is_told_and_not_tried_again(
    pushing: Served, media: tuple[MediaServer, str]
) -> None:
    double, url = media
    double.status = 401
    _, push = await begun(pushing, url, "wrong")
    failed = await until(pushing, push, "failed")
    assert "401 Unauthorized" in failed["problem"] and len(double.tokens) == 1


async def test_a_server_that_hangs_up_is_called_again(
    pushing: Served, media: tuple[MediaServer, str]
) -> None:
    double, url = media
    _, push = await begun(pushing, url)
    await until(pushing, push, "live")
    await asyncio.wait_for(double.came["video"], 20)
    await double.peer.close()
    await until(pushing, push, "retrying")
    await until(pushing, push, "live")
    await asyncio.wait_for(double.came["video"], 20)
    assert len(double.tokens) == 2
    assert (await pushing.http.delete(push)).status == 204
