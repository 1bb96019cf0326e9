"""Interrupts of whole sessions, each with a reply 0-500 ms later, as those who listen have them.

A session with everything that it runs, from packets to the sound that leaves and the events that
peers get, in virtual time; the codec is a stand-in, so that samples can be told apart and counted.
Speech comes at its own pace or in bursts, with silence behind it or nothing; packets that an
interrupt has overtaken come in behind it. Of each reply every sample must leave, nothing of what
was interrupted, and one ``speaking_started`` and one ``speaking_finished`` must be told.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from itertools import count
from typing import Final

import av
import numpy as np
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from benchmarks.stress import virtual_time
from server.media.arrival_statistics import BLOCK
from server.media.audio_decoder import Packet, SpeechDecoder
from server.media.encoders import Bitrates
from server.media.playout import DelayLimits, ms
from server.observability.metrics import Metrics
from server.sessions.engine import Engine
from server.sessions.options import Limits, Options
from server.sessions.session import Session
from tests.fakes_server import Behaviour, FakeEngine, FakeStream

CODEC: Final = RTCRtpCodecParameters("audio/opus", 48_000, 2, 96)
OLD, REPLY = 7_000, 11_000  # loudness of the sounds that are told apart
BLOCK_S: Final = 0.02
SPOKEN, REPLIED, QUIET = 40, 40, 90  # blocks: before an interrupt, of a reply, and behind it
SETTLES_S: Final = 12.0  # until the delay is what it stays
COST_S: Final = 0.012  # of a step, as the engine measures it
LIMITS: Final = Limits(1e9, 30.0, Bitrates(), DelayLimits(ms(180), ms(180), ms(450)), ())


class Told(Session):
    """A session that keeps what it tells its peers, and the sound that leaves."""

    def __init__(self, engine: Engine) -> None:
        self.events: list[str] = []
        self.left: list[NDArray[np.int16]] = []
        loop, inline = asyncio.get_running_loop(), virtual_time.Inline()
        super().__init__(Options("mira"), LIMITS, engine, inline, Metrics(), loop.time)
        self.media_sender.taps.add(self)
        self.receiver.new_source(48_000, live=False)

    def tell(self, message: str) -> None:
        self.events.append(json.loads(message)["type"])

    def sound(self, at: int, pcm: NDArray[np.int16]) -> None:
        """As ``Tap``."""
        self.left.append(pcm)

    def picture(self, at: int, picture: av.VideoFrame) -> None:
        """As ``Tap``."""


class Feeder:
    """Who speaks: numbered packets, paced or in bursts."""

    def __init__(self, session: Session, rng: random.Random) -> None:
        self._session, self._rng = session, rng
        self._next_s = asyncio.get_running_loop().time()
        self.sequence = self._timestamp = 0

    async def say(self, loudness: int, blocks: int, burst: int = 1) -> None:
        """So many blocks, ``burst`` at a time."""
        for number in range(blocks):
            if number % burst == 0:
                await self.pause(min(burst, blocks - number))
            self._packet(loudness, self.sequence)
            self.sequence += 1
            self._timestamp += BLOCK

    async def pause(self, blocks: int) -> None:
        """Nothing is sent in their time, which passes after what is sent next."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._next_s - loop.time()))
        self._next_s = max(self._next_s, loop.time()) + blocks * BLOCK_S

    def overtaken(self) -> None:
        """One of the last packets comes after an interrupt that was sent after it."""
        self._packet(OLD, max(0, self.sequence - 1 - self._rng.randrange(5)))

    def _packet(self, loudness: int, sequence: int) -> None:
        payload = loudness.to_bytes(2, "big")
        self._session.receiver.packet(CODEC, sequence % 65_536, self._timestamp, payload)


def decoded(_: SpeechDecoder, packets: list[Packet]) -> list[NDArray[np.int16] | None]:
    """Each packet a buzz of its own loudness, which speech detection takes for a voice."""
    shape = np.sign(np.sin(2 * np.pi * 150 * (np.arange(BLOCK) + 0.5) / 48_000))
    return [(shape * int.from_bytes(p.payload, "big")).astype(np.int16) for p in packets]


def run(rounds: int, seed: int) -> dict[str, int]:
    """Samples of replies ``lost``, of what was interrupted heard after it (``old``), and utterances
    that nobody made or whose end is not told (``ghosts``)."""
    genuine, SpeechDecoder.batch = SpeechDecoder.batch, decoded  # type: ignore[method-assign]
    try:
        return virtual_time.run(_run(rounds, random.Random(seed)))
    finally:
        SpeechDecoder.batch = genuine  # type: ignore[method-assign]


async def _run(rounds: int, rng: random.Random) -> dict[str, int]:
    moments = count()
    engine = Engine(FakeEngine(), lambda streams, seconds: None, lambda: next(moments) * COST_S)
    engine._executor = virtual_time.Inline()  # type: ignore[assignment]
    running = asyncio.create_task(engine.run())
    session, counts = Told(engine), Counter(rounds=rounds, lost=0, old=0, ghosts=0)
    session.start(FakeStream(64, Behaviour()))
    feeder = Feeder(session, rng)
    try:
        await feeder.say(0, round(SETTLES_S / BLOCK_S))
        for _ in range(rounds):
            counts.update(await _round(session, feeder, rng))
    finally:
        await session.end("done")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return dict(counts)


async def _round(session: Told, feeder: Feeder, rng: random.Random) -> dict[str, int]:
    burst = rng.choice((1, 1, 5, 20))
    await feeder.say(OLD, SPOKEN, burst)
    await asyncio.sleep(rng.uniform(0.0, 0.1))
    session.events.clear()
    session.interrupt()
    session.left.clear()
    for _ in range(rng.randrange(4)):
        feeder.overtaken()
    pause = rng.randrange(26)
    if rng.random() < 0.5:
        await feeder.say(0, pause)
    else:
        await feeder.pause(pause)
    await feeder.say(REPLY, REPLIED, burst)
    await feeder.say(0, QUIET)
    assert session.running, session.ended_because
    loud = np.abs(np.concatenate(session.left[1:]))  # the first block has the end of a fade
    return {
        "lost": max(0, REPLIED * BLOCK - int((loud == REPLY).sum())),
        "old": int((loud == OLD).sum()),
        "ghosts": sum(
            abs(session.events.count(kind) - expected)
            for kind, expected in (("speaking_started", 1), ("speaking_finished", 2))
        ),
    }
