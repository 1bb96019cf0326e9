"""Interrupts, each with a reply 0-500 ms later: nothing of the reply is lost, nothing else heard.

One session's hearing on a counted clock: packets are decoded, placed and released as in a call,
from a feeder that keeps its real pace or sends in bursts; what a stream would get is looked at
instead. Before each interrupt somebody speaks; packets that it has overtaken come in behind it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from server.media.arrival_statistics import BLOCK
from server.media.audio_decoder import Packet
from server.media.audio_receiver import AudioBlock, AudioReceiver

CODEC = RTCRtpCodecParameters("audio/opus", 48_000, 2, 96)
OLD, REPLY = 7_000, 11_000  # loudness of the sounds that are told apart
TURN_BLOCKS = 40


class _Inline(Executor):
    """Runs at once: the clock is counted, not waited for."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class _Call:
    """A feeder, the hearing that it feeds, and what was heard."""

    def __init__(self) -> None:
        self.at = 100 * BLOCK
        self.sequence = 0
        self.timestamp = 0
        self.heard: list[AudioBlock] = []
        self.receiver = AudioReceiver(
            _Inline(), lambda: self.at, self.heard.append, lambda code, message: None
        )
        self.receiver.new_source(48_000, live=False)
        self.receiver.release_to(self.at)

    async def send(self, loudness: int, sequence: int | None = None) -> None:
        """One block; a ``sequence`` of the past is a packet that was overtaken."""
        if sequence is None:
            sequence, self.sequence = self.sequence, (self.sequence + 1) % 65_536
        payload = loudness.to_bytes(2, "big")
        self.receiver._decoder.batch = self._decode  # type: ignore[method-assign]
        self.receiver.packet(CODEC, sequence, self.timestamp % (1 << 32), payload)
        self.timestamp += BLOCK
        for _ in range(3):
            await asyncio.sleep(0)

    def wait(self, samples: int) -> None:
        """Time passes; what is missing is made up for, as late as a call would."""
        for _ in range(0, samples, BLOCK):
            self.at += BLOCK
            self.receiver.release()
            self.receiver.release_to(self.at - 3 * BLOCK)

    @staticmethod
    def _decode(packets: list[Packet]) -> list[NDArray[np.int16] | None]:
        """Each packet a buzz of its own loudness, which speech detection takes for a voice."""
        shape = np.sign(np.sin(2 * np.pi * 150 * (np.arange(BLOCK) + 0.5) / 48_000))
        return [(shape * int.from_bytes(p.payload, "big")).astype(np.int16) for p in packets]


async def _round(call: _Call, rng: np.random.Generator) -> dict[str, int]:
    for _ in range(TURN_BLOCKS):
        await call.send(OLD)
        call.wait(BLOCK * int(rng.integers(0, 2)))
    interrupted = call.sequence
    call.receiver.interrupt(call.receiver.head // 3)
    known = len(call.heard)
    for _ in range(int(rng.integers(0, 4))):
        await call.send(OLD, (interrupted - 1 - int(rng.integers(0, 5))) % 65_536)
    call.wait(int(rng.integers(0, 26)) * BLOCK)
    before = len(call.heard)
    for _ in range(TURN_BLOCKS):
        await call.send(REPLY)
        call.wait(BLOCK * int(rng.integers(0, 2)))
    call.wait(2 * TURN_BLOCKS * BLOCK)
    pcm_48k = np.concatenate([h.pcm_48k for h in call.heard[known:] if h.rtp is not None])
    ghosts = [e for h in call.heard[known:before] for e in h.edges if e.speaking]
    return {
        "lost": TURN_BLOCKS * BLOCK - int((np.abs(pcm_48k) == REPLY).sum()),
        "old": int((np.abs(pcm_48k) == OLD).sum()),
        "ghosts": len(ghosts),
    }


async def _run(rounds: int, seed: int) -> dict[str, int]:
    rng, call = np.random.default_rng(seed), _Call()
    running = asyncio.create_task(call.receiver.run())
    found = {"rounds": rounds, "lost": 0, "old": 0, "ghosts": 0}
    try:
        for _ in range(rounds):
            for name, count in (await _round(call, rng)).items():
                found[name] += count
            call.heard.clear()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return found


def run(rounds: int = 200, seed: int = 0) -> dict[str, int]:
    """Samples of replies ``lost``, of what was interrupted heard after it (``old``), and utterances
    that nobody made (``ghosts``). Raises ``RuntimeError`` unless all are 0."""
    found = asyncio.run(_run(rounds, seed))
    if found["lost"] or found["old"] or found["ghosts"]:
        raise RuntimeError(f"interrupts with replies: {found}")
    return found
