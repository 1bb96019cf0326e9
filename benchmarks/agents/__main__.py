"""``python -m benchmarks.agents pipecat --url http://localhost:8080 --avatar mira``

Interrupts speech again and again through an integration, and listens as a peer: from the request
to silence, what was said to be heard against what was, sound after silence, and the reply's length.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 24_000
SETTLED_S = 0.4  # after an interrupt everything that will come has come
REPLY_MS = 200


def hum(seconds: float) -> NDArray[np.int16]:
    """Something that is loud from its first sample to its last."""
    at = np.arange(round(seconds * RATE)) / RATE
    return (8000 * np.sin(2 * np.pi * 220 * at)).astype(np.int16)


async def measure(agent: Any, rounds: int) -> dict[str, list[float]]:
    """``rounds`` interrupts at random moments, each followed by a reply."""
    found: dict[str, list[float]] = {k: [] for k in ("silence", "position", "ghost", "reply")}
    random = np.random.default_rng(0)
    for number in range(rounds):
        agent.peer.forget()
        await agent.say(hum(3.0), f"long-{number}", whole=False)
        await agent.peer.hears(200 + 400 * random.random())
        asked_s = time.monotonic()
        await agent.interrupt()
        await asyncio.sleep(SETTLED_S)
        heard = agent.told.get(f"long-{number}")
        found["silence"].append(1000 * (agent.peer.silent_since_s - asked_s))
        found["position"].append(abs(heard.position_ms - agent.peer.heard_ms) if heard else np.nan)
        agent.peer.forget()
        await asyncio.sleep(random.random() * 0.5)
        found["ghost"].append(agent.peer.heard_ms)
        agent.peer.forget()
        await agent.say(hum(REPLY_MS / 1000), f"reply-{number}")
        await agent.peer.hears(REPLY_MS / 2)
        await asyncio.sleep(SETTLED_S)
        found["reply"].append(agent.peer.heard_ms)
    return found


@asynccontextmanager
async def opened(name: str, url: str, avatar: str) -> AsyncIterator[Any]:
    """The agent of an integration."""
    if name == "pipecat":
        from benchmarks.agents.pipecat_pipeline import PipecatPipeline
        from integrations.pipecat import ContinuumRemoteVideoService

        service = ContinuumRemoteVideoService(url=url, avatar=avatar)
        async with PipecatPipeline(service) as pipeline:
            yield pipeline
    elif name == "realtime":
        from benchmarks.agents.realtime_session import RealtimeSession

        async with RealtimeSession(url, avatar) as session:
            yield session
    else:
        from benchmarks.agents.livekit_room import LiveKitRoom

        async with LiveKitRoom(url, avatar) as room:
            await room.launch()
            yield room


async def run(name: str, url: str, avatar: str, rounds: int) -> None:
    """A table, then one JSON line."""
    async with opened(name, url, avatar) as agent:
        found = await measure(agent, rounds)
    print(f"{'ms':10} {'p50':>7} {'p95':>7} {'least':>7} {'most':>7}")
    rows: dict[str, Any] = {"integration": name, "rounds": rounds}
    for kind, values in found.items():
        row = [*np.nanpercentile(values, [50, 95]), np.nanmin(values), np.nanmax(values)]
        print(f"{kind:10} " + " ".join(f"{value:7.1f}" for value in row))
        rows[kind] = [round(float(value), 1) for value in row]
    print(json.dumps(rows))


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("integration", choices=["pipecat", "livekit", "realtime"])
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(run(given.integration, given.url, given.avatar, given.rounds))


if __name__ == "__main__":
    main()
