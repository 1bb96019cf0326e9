"""A Realtime API's answers through an avatar: a double of the protocol on loopback."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from client.avatar import Avatar, Heard
from client.errors import CallError
from integrations.realtime import RealtimeAvatar
from tests.client.test_avatar import hum
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]


class Api:
    """Sends what the test says, notes what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.socket = web.WebSocketResponse()
        self.more = asyncio.Event()
        self.connected = asyncio.Event()

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        await self.socket.prepare(request)
        self.connected.set()
        async for message in self.socket:
            self.sent.append(message.json())
            self.more.set()
        return self.socket

    async def noted(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.sent) < count:
                self.more.clear()
                await self.more.wait()

    async def tell(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def answer(self, item: str, seconds: float, kind: str = "output_audio") -> None:
        """All of an answer at once, as the API does."""
        part = {"item_id": item, "content_index": 0, "response_id": "r"}
        await self.tell("response.created")
        pcm = hum(seconds).tobytes()
        for start in range(0, len(pcm), 9600):
            delta = base64.b64encode(pcm[start : start + 9600]).decode()
            await self.tell(f"response.{kind}.delta", delta=delta, **part)
        await self.tell(f"response.{kind}.done", **part)
        await self.tell("response.done")


class Talk:
    """The double, an avatar, and the bridge between them."""

    def __init__(self, api: Api, avatar: Avatar, bridge: RealtimeAvatar) -> None:
        self.api, self.avatar, self.bridge = api, avatar, bridge
        self.heard: dict[str, Heard] = {}
        self.events: list[str] = []
        self.more = asyncio.Event()
        bridge.on_heard = self._hear
        bridge.on_event = self._take
        spoken = avatar.on_event
        avatar.on_event = lambda event: (spoken(event), self._note(event["type"]))[0]
        self.running = asyncio.create_task(bridge.run())

    def _hear(self, item: str, heard: Heard) -> None:
        self.heard[item] = heard

    def _take(self, event: dict[str, Any]) -> None:
        self._note(event["type"])

    def _note(self, kind: str) -> None:
        self.events.append(kind)
        self.more.set()

    async def until(self, kind: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.events.count(kind) < times:
                self.more.clear()
                await self.more.wait()


@pytest_asyncio.fixture
async def talk(served: Served) -> AsyncIterator[Talk]:
    api, app = Api(), web.Application()
    app.router.add_get("/v1/realtime", api.connect)
    async with (
        TestClient(TestServer(app)) as http,
        Avatar(str(served.http.make_url("/")), "mira", listen=True) as avatar,
        http.ws_connect("/v1/realtime") as socket,
    ):
        talk = Talk(api, avatar, RealtimeAvatar(avatar, socket))
        yield talk
        talk.running.cancel()
        await asyncio.gather(talk.running, return_exceptions=True)


@pytest.mark.parametrize("kind", ["output_audio", "audio"])
async def test_an_answer_is_spoken_to_its_end_and_nothing_is_truncated(
    talk: Talk, kind: str
) -> None:
    await talk.api.answer("item_1", 0.5, kind)
    await talk.until("utterance_finished")
    heard = talk.heard["item_1"]
    assert heard.position_ms == 500 and not heard.interrupted
    await talk.bridge.hear(hum(0.1))
    await talk.api.tell("input_audio_buffer.speech_started")
    await talk.until("input_audio_buffer.speech_started")
    await talk.bridge.interrupt()
    await talk.api.noted(1)
    assert [event["type"] for event in talk.api.sent] == ["input_audio_buffer.append"]
    assert base64.b64decode(talk.api.sent[0]["audio"]) == hum(0.1).tobytes()


async def test_when_the_person_speaks_each_answer_is_cut_where_it_was_heard(talk: Talk) -> None:
    await talk.api.answer("item_1", 3.0)
    await talk.api.answer("item_2", 1.0)
    await talk.until("utterance_started")
    await asyncio.sleep(0.4)
    await talk.api.tell("input_audio_buffer.speech_started")
    await talk.until("input_audio_buffer.speech_started")
    late = base64.b64encode(hum(0.1)).decode()
    await talk.api.tell(
        "response.output_audio.delta", item_id="item_1", content_index=0, delta=late
    )
    await talk.api.answer("item_3", 0.2)
    await talk.until("utterance_finished", 3)
    await talk.api.noted(2)
    first, second = (e for e in talk.api.sent if e["type"] == "conversation.item.truncate")
    assert first["item_id"] == "item_1" and first["content_index"] == 0
    assert first["audio_end_ms"] == talk.heard["item_1"].position_ms
    assert 200 < first["audio_end_ms"] < 2000
    assert (second["item_id"], second["audio_end_ms"]) == ("item_2", 0)
    assert talk.heard["item_3"].position_ms == 200 and len(talk.api.sent) == 2


async def test_an_interrupt_of_ones_own_cancels_the_response_first(talk: Talk) -> None:
    await talk.api.tell("response.created")
    part = {"item_id": "item_1", "content_index": 1}
    delta = base64.b64encode(hum(1.0)).decode()
    await talk.api.tell("response.output_audio.delta", delta=delta, **part)
    await talk.until("utterance_started")
    await talk.bridge.interrupt()
    await talk.until("cleared")
    await talk.api.noted(2)
    kinds = [event["type"] for event in talk.api.sent]
    assert kinds == ["response.cancel", "conversation.item.truncate"]
    assert talk.api.sent[1]["content_index"] == 1


async def test_what_is_no_sound_ends_it_with_the_reason(talk: Talk) -> None:
    await talk.api.tell("response.output_audio.delta", item_id="i", content_index=0, delta="?")
    with pytest.raises(CallError, match="no PCM"):
        await talk.running


async def test_an_avatar_that_is_gone_ends_it(talk: Talk, served: Served) -> None:
    await served.manager.sessions[0].end("the test ends it")
    with pytest.raises(CallError):
        async with asyncio.timeout(20):
            await talk.api.answer("item_1", 0.2)
            await talk.running
