"""The README's snippets for agents run as they stand; only the addresses are the test's."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from livekit.agents import AgentSession
from pipecat.frames.frames import EndFrame, Frame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from benchmarks.agents.livekit_room import KEY, SECRET, LiveKitRoom
from tests.client.test_avatar import hum
from tests.integrations.test_realtime import Api
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]

README = Path(__file__).parents[2] / "README.md"
LINES = 10


def snippet(name: str, places: dict[str, str]) -> str:
    """The code of an integration, with the test's addresses in it."""
    found = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (code,) = [code for code in found if f"integrations.{name}" in code]
    assert len(code.splitlines()) <= LINES
    for told, here in places.items():
        assert told in code
        code = code.replace(told, here.rstrip("/"))
    return code


async def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs it as the body of a coroutine."""
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(compiled, names)
    if inspect.isawaitable(running):
        await running
    return names


def url(served: Served) -> str:
    return str(served.http.make_url("/"))


class Passing(FrameProcessor):
    """A stage that passes frames on, and notes sound."""

    def __init__(self) -> None:
        super().__init__()
        self.sounds: list[TTSAudioRawFrame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.sounds.append(frame)
        await self.push_frame(frame, direction)


async def test_pipecats_snippet_puts_the_avatar_into_a_pipeline(served: Served) -> None:
    heard, ready = Passing(), asyncio.Event()
    names = {
        "Pipeline": Pipeline,
        "transport": SimpleNamespace(input=Passing, output=lambda: heard),
        **{name: Passing() for name in ("stt", "llm", "tts")},
    }
    await run(snippet("pipecat", {"http://localhost:8080": url(served)}), names)
    worker = PipelineWorker(names["pipeline"], cancel_on_idle_timeout=False)

    @worker.event_handler("on_pipeline_started")
    async def started(worker: object, frame: object) -> None:
        ready.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(30):
        await ready.wait()
        await worker.queue_frame(TTSAudioRawFrame(hum(0.2).tobytes(), 24_000, 1))
        await worker.queue_frame(EndFrame())
        await running
    assert {frame.sample_rate for frame in heard.sounds} == {48_000}
    assert sum(len(frame.audio) for frame in heard.sounds) >= 0.2 * 48_000 * 2


async def test_livekits_snippet_lets_an_agent_speak_through_the_avatar(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LiveKitRoom(url(served), "mira") as room, asyncio.timeout(30):
        monkeypatch.setenv("LIVEKIT_URL", room.server.url)
        monkeypatch.setenv("LIVEKIT_API_KEY", KEY)
        monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)
        names = {"session": AgentSession(), "ctx": SimpleNamespace(room=room.room)}
        worker = str(room.http.make_url("/"))
        await run(snippet("livekit", {"http://localhost:8090": worker}), names)
        room.use(names["session"].output.audio)
        await room.say(hum(0.2), "hello")
        await room.played()
        assert room.told["hello"].position_ms == 200
        await names["avatar"].aclose()


async def test_realtimes_snippet_speaks_what_the_api_answers(served: Served) -> None:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    api, app = Api(), web.Application()
    app.router.add_get("/v1/realtime", api.connect)
    async with TestClient(TestServer(app)) as http, asyncio.timeout(30):
        names = {"realtime_url": str(http.make_url("/v1/realtime")), "headers": {}}
        code = snippet("realtime", {"http://localhost:8080": url(served)})
        running = asyncio.create_task(run(code, names))
        await api.connected.wait()
        await api.answer("item_1", 3.0)
        await api.tell("input_audio_buffer.speech_started")
        await api.noted(1)
        assert api.sent[0]["type"] == "conversation.item.truncate"
        await api.socket.close()
        await running
