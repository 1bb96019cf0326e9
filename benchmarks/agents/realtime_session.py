"""A double of a Realtime API, an avatar that speaks its answers, and a viewer that listens."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from numpy.typing import NDArray

from benchmarks.agents.peer import Peer
from client.avatar import Avatar, Heard
from client.receive import Sound
from client.viewer import Viewer
from integrations.realtime import RealtimeAvatar

PIECE = 4800  # samples of one delta


class RealtimeSession:
    """``say`` and ``interrupt`` are what the API tells; ``told`` is where it was asked to cut."""

    def __init__(self, url: str, avatar: str) -> None:
        self.peer = Peer()
        self.told: dict[str, Heard] = {}
        self._avatar = Avatar(url, avatar, listen=True)
        self._api = web.WebSocketResponse()

    async def __aenter__(self) -> RealtimeSession:
        app = web.Application()
        app.router.add_get("/v1/realtime", self._connect)
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(TestClient(TestServer(app)))
            avatar = await stack.enter_async_context(self._avatar)
            session = avatar.session
            viewer = Viewer(avatar.url, session["whep"], session["token"])
            viewer.on_sound = self._heard
            await stack.enter_async_context(viewer)
            socket = await http.ws_connect("/v1/realtime")
            running = asyncio.create_task(RealtimeAvatar(avatar, socket).run())
            stack.push_async_callback(asyncio.wait, [running])
            stack.callback(running.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()
        await self.peer.close()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        await self._api.prepare(request)
        async for message in self._api:
            event: dict[str, Any] = message.json()
            if event["type"] == "conversation.item.truncate":
                self.told[event["item_id"]] = Heard(event["audio_end_ms"], True, 0)
        return self._api

    def _heard(self, sent_at: float, pcm: NDArray[np.int16]) -> None:
        self.peer.hear(Sound(0, time.monotonic(), 0, pcm))

    async def say(self, pcm: NDArray[np.int16], name: str, whole: bool = True) -> None:
        """An answer, as fast as the socket takes it."""
        part = {"item_id": name, "content_index": 0}
        for start in range(0, len(pcm), PIECE):
            delta = base64.b64encode(pcm[start : start + PIECE].tobytes()).decode()
            await self._tell("response.output_audio.delta", delta=delta, **part)
        if whole:
            await self._tell("response.output_audio.done", **part)

    async def interrupt(self) -> None:
        """The person speaks."""
        await self._tell("input_audio_buffer.speech_started")

    async def _tell(self, kind: str, **fields: object) -> None:
        await self._api.send_json({"type": kind, **fields})
