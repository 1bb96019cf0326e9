"""An avatar for programs that bring their own transport: what is given out, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from client.errors import CallError, Unreachable
from client.live import LiveAvatar
from client.moments import RATE, Moment
from tests.client.test_avatar import hum
from tests.server.conftest import Served, pipeline, served, settings

__all__ = ["pipeline", "served", "settings"]


class Ear:
    """Takes moments as they come."""

    def __init__(self, live: LiveAvatar) -> None:
        self.moments: list[Moment] = []
        self.more = asyncio.Event()
        self._task = asyncio.create_task(self._listen(live))

    async def _listen(self, live: LiveAvatar) -> None:
        async for moment in live:
            self.moments.append(moment)
            self.more.set()

    def heard_ms(self) -> float:
        pcm = np.concatenate([moment.pcm for moment in self.moments])
        loud = np.flatnonzero(np.abs(pcm) > 500)
        return 1000 * (loud[-1] - loud[0]) / RATE if len(loud) else 0.0

    async def hears(self, ms: float) -> None:
        while self.heard_ms() < ms:
            self.more.clear()
            await self.more.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest_asyncio.fixture
async def live(served: Served) -> AsyncIterator[LiveAvatar]:
    async with LiveAvatar(str(served.http.make_url("/")), "mira") as live:
        yield live


async def test_a_segment_is_given_out_whole_and_its_position_is_what_was_heard(
    live: LiveAvatar,
) -> None:
    ear = Ear(live)
    segment = live.begin(24_000)
    for _ in range(3):
        await segment.push(hum(0.2))
    await segment.end()
    assert await segment.started
    heard = await segment.finished
    assert not live.dropped and live.size == (256, 256)
    await ear.stop()
    assert heard.position_ms == 600 and not heard.interrupted
    assert ear.heard_ms() == pytest.approx(600, abs=20)
    starts = [moment.sent_at for moment in ear.moments]
    assert np.allclose(np.diff(starts), 0.04, atol=1e-3)


async def test_an_interrupt_is_silent_at_once_and_tells_what_was_given_out(
    live: LiveAvatar,
) -> None:
    ear = Ear(live)
    segment, waits = live.begin(24_000), live.begin(24_000)
    await segment.push(hum(2.0))
    assert await segment.started
    await ear.hears(300)
    await live.interrupt()
    spoken_ms = ear.heard_ms()
    heard = await segment.finished
    assert heard.interrupted and heard.position_ms == pytest.approx(spoken_ms, abs=20)
    assert (await waits.finished).position_ms == 0 and not await waits.started
    await segment.push(hum(1.0))  # too late: is not heard
    del ear.moments[:]
    reply = live.begin(24_000)
    await reply.push(hum(0.3))
    await reply.end()
    assert (await reply.finished).position_ms == 300
    await ear.stop()
    del ear.moments[0]  # in which the cut fades out
    assert ear.heard_ms() == pytest.approx(300, abs=20)


async def test_a_session_that_ends_is_told(live: LiveAvatar, served: Served) -> None:
    segment = live.begin(24_000)
    await served.manager.sessions[0].end("the test ends it")
    with pytest.raises(Unreachable):
        async with asyncio.timeout(20):
            async for _ in live:
                pass
    with pytest.raises(CallError):
        await segment.finished
