"""The avatar in real Pipecat pipelines: what its frames do, and what a peer of SmallWebRTC gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from av import VideoFrame

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterruptionFrame,
    MetricsFrame,
    OutputImageRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.worker import PipelineParams
from pipecat.services.ai_service import AIService
from pipecat.tests.utils import SleepFrame, run_test

from benchmarks.agents.pipecat_pipeline import PipecatPipeline
from client.avatar import Heard
from client.moments import Moment
from integrations.in_process import InProcessAvatar
from integrations.pipecat import ContinuumRemoteVideoService, ContinuumVideoService
from tests.client.test_avatar import hum
from tests.fakes_server import Behaviour, FakeStream
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]


def url(served: Served) -> str:
    return str(served.http.make_url("/"))


def spoken(seconds: float, context_id: str) -> list[Frame]:
    pieces = np.split(hum(seconds), round(seconds / 0.1))
    sound = [TTSAudioRawFrame(p.tobytes(), 24_000, 1, context_id=context_id) for p in pieces]
    return [TTSStartedFrame(context_id=context_id), *sound, TTSStoppedFrame(context_id=context_id)]


async def run(avatar: AIService, *frames: Frame) -> tuple[list, list]:
    params = PipelineParams(enable_metrics=True)
    down, up = await run_test(
        avatar, frames_to_send=frames, pipeline_params=params, start_timeout=20
    )
    return list(down), list(up)


async def test_speech_comes_out_with_pictures_in_step_and_its_end_when_it_was_heard(
    served: Served,
) -> None:
    avatar = ContinuumRemoteVideoService(url=url(served), avatar="mira")
    down, up = await run(avatar, TextFrame("passes"), *spoken(0.4, "a"), SleepFrame(0.2))
    sound = [f for f in down if isinstance(f, TTSAudioRawFrame)]
    pcm = np.concatenate([np.frombuffer(f.audio, "<i2") for f in sound])
    loud = np.flatnonzero(np.abs(pcm) > 500)
    assert (loud[-1] - loud[0]) / 48 == pytest.approx(400, abs=20)
    pictures = [f for f in down if isinstance(f, OutputImageRawFrame)]
    assert all(f.sync_with_audio and f.size == (256, 256) for f in pictures)
    assert {f.context_id for f in sound} == {"a"} and len(pictures) >= len(sound)
    kinds = [type(frame) for frame in down]
    last = len(kinds) - 1 - kinds[::-1].index(TTSAudioRawFrame)
    first = kinds.index(TTSAudioRawFrame)
    assert kinds.index(TTSStartedFrame) < first and kinds[first - 1] is OutputImageRawFrame
    assert kinds.index(TTSStoppedFrame) > last and TextFrame in kinds and not up
    waited = [
        data.value
        for frame in down
        if isinstance(frame, MetricsFrame)
        for data in frame.data
        if isinstance(data, TTFBMetricsData)
    ]
    assert any(0 < value < 5 for value in waited)
    assert not served.manager.sessions


async def test_an_interrupt_ends_what_is_said_and_is_passed_on(served: Served) -> None:
    avatar = ContinuumRemoteVideoService(url=url(served), avatar="mira")
    told: dict[str, Heard] = {}

    @avatar.event_handler("on_speech_finished")
    async def finished(service: object, context_id: str, heard: Heard) -> None:
        told[context_id] = heard

    interrupt = [SleepFrame(0.6), InterruptionFrame(), SleepFrame(0.05)]
    down, _ = await run(avatar, *spoken(3.0, "a"), *interrupt, *spoken(0.2, "b"))
    kinds = [type(frame) for frame in down]
    cut = kinds.index(InterruptionFrame)
    late = [f for f in down[cut:] if isinstance(f, TTSAudioRawFrame) and f.context_id == "a"]
    assert late == [] and kinds.count(TTSStoppedFrame) == 1
    assert told["a"].interrupted and 0 < told["a"].position_ms < 1000
    assert told["b"].position_ms == 200 and not told["b"].interrupted


async def test_without_a_server_sound_passes_and_an_error_is_told() -> None:
    avatar = ContinuumRemoteVideoService(url="http://127.0.0.1:9", avatar="mira")
    down, up = await run(avatar, *spoken(0.2, "a"))
    assert [type(f) for f in down if isinstance(f, TTSAudioRawFrame)] == [TTSAudioRawFrame] * 2
    assert any(isinstance(f, ErrorFrame) and "127.0.0.1:9" in f.error for f in up)


async def test_a_model_in_this_process_speaks_as_a_server_does() -> None:
    stream = FakeStream(128, Behaviour())
    avatar = ContinuumVideoService(stream=stream)
    told: dict[str, Heard] = {}

    @avatar.event_handler("on_speech_finished")
    async def finished(service: object, context_id: str, heard: Heard) -> None:
        told[context_id] = heard

    interrupt = [SleepFrame(0.7), InterruptionFrame(), SleepFrame(0.05)]
    down, _ = await run(avatar, *spoken(3.0, "a"), *interrupt, *spoken(0.4, "b"), SleepFrame(0.1))
    assert told["a"].interrupted and 0 < told["a"].position_ms < 1500 and stream.interrupts == 1
    assert told["b"].position_ms == 400 and not told["b"].interrupted
    late = down[[type(f) for f in down].index(InterruptionFrame) :]
    sound = [f for f in late if isinstance(f, TTSAudioRawFrame)]
    pcm = np.concatenate([np.frombuffer(f.audio, "<i2") for f in sound])
    loud = np.flatnonzero(np.abs(pcm) > 500)
    assert (loud[-1] - loud[0]) / 48 == pytest.approx(400, abs=5)
    assert {f.context_id for f in sound} == {"b"} and stream.closed


async def test_in_process_the_face_is_that_of_the_sound() -> None:
    async with InProcessAvatar(FakeStream(256, Behaviour())) as avatar:
        segment = avatar.begin(24_000)
        await segment.push(hum(0.4))
        await segment.end()
        moments: list[Moment] = []
        async with asyncio.timeout(20):
            async for moment in avatar:
                moments.append(moment)
                if segment.finished.done():
                    break
    loud = [bool(np.abs(m.pcm).max() > 4000) for m in moments]
    face = [bright(m.picture) for m in moments]  # the fake makes two frames at a time
    assert sum(loud) == 10 and abs(face.index(True) - loud.index(True)) <= 1


@pytest_asyncio.fixture
async def agent(served: Served) -> AsyncIterator[PipecatPipeline]:
    avatar = ContinuumRemoteVideoService(url=url(served), avatar="mira")
    async with PipecatPipeline(avatar, size=256) as agent:
        yield agent


def bright(frame: VideoFrame) -> bool:
    """Whether the fake avatar's mouth is open (``tests/fakes_server.py``)."""
    return bool(frame.to_ndarray(format="gray")[90:120, 90:120].mean() > 150)


async def test_a_peer_gets_face_and_sound_together_and_silence_on_an_interrupt(
    agent: PipecatPipeline,
) -> None:
    agent.peer.forget()
    await agent.say(hum(3.0), "a", whole=False)
    async with asyncio.timeout(20):
        await agent.peer.hears(300)
        seen_s = min(p.arrived_s for p in agent.peer.pictures if bright(p.frame))
        assert seen_s - agent.peer.heard_since_s == pytest.approx(0, abs=0.2)
        await agent.interrupt()
        while "a" not in agent.told:
            agent.peer.more.clear()
            await agent.peer.more.wait()
        await asyncio.sleep(0.2)
        heard_ms = agent.peer.heard_ms
        assert agent.told["a"].position_ms == pytest.approx(heard_ms, abs=100)
        agent.peer.forget()
        await agent.say(hum(0.3), "b")
        await agent.peer.hears(280)
    assert not agent.told["a"].error
