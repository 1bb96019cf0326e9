"""Signals to a real server and to its callers: it stands still, they are killed, it ends in order.

A round is a server with a caller in a process of its own. The server is stopped during the call and
goes on; then the caller is killed, and the time until its slot is free is reported (ten seconds are
promised, on a machine that is not overloaded); then somebody has a session, and the server gets a
burst of SIGTERM and SIGINT at moments that the seed chooses: its exit status must be 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import numpy as np

from client.caller import Caller
from client.microphone import RATE, Microphone

LOOK_S: Final = 0.1
PATIENCE_S: Final = 60.0
LONGEST_STOP_S: Final = 3.0
MOST_SIGNALS: Final = 8
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run(rounds: int, seed: int) -> dict[str, int]:
    """The longest time that a slot took to be free, in ms. Raises ``AssertionError``."""
    return asyncio.run(_run(rounds, random.Random(seed)))


async def _run(rounds: int, rng: random.Random) -> dict[str, int]:
    counts = Counter(rounds=rounds, slots=0, signals=0)
    for _ in range(rounds):
        async with _process("tests.serve_fake", "--port", "0", "--drain-s", "1") as child:
            url = (await _line(child)).split()[-1].rstrip("/").replace("localhost", "127.0.0.1")
            async with aiohttp.ClientSession(url) as http:
                await _slots(http, 0)
                await _call(http, url, child, rng, counts)
                async with http.post("/v1/sessions", json={"avatar": "mira"}) as answer:
                    assert answer.status == 201, await answer.text()
            counts["signals"] += await _burst(child, rng)
            assert child.returncode == 0, f"the server ended with {child.returncode}"
    return dict(counts)


async def _call(
    http: aiohttp.ClientSession, url: str, child: Process, rng: random.Random, counts: Counter[str]
) -> None:
    """The server stands still under a caller, who is killed later."""
    async with _process("benchmarks.stress.signals", url) as caller:
        await _line(caller)
        child.send_signal(signal.SIGSTOP)
        await asyncio.sleep(rng.uniform(0.2, LONGEST_STOP_S))
        child.send_signal(signal.SIGCONT)
        for _ in range(3):  # of which the first may have been on its way
            await _line(caller)
        caller.kill()
        await caller.wait()
        counts["freed_ms"] = max(counts["freed_ms"], round(1000 * await _slots(http, 0)))


async def _burst(child: Process, rng: random.Random) -> int:
    """Signals until the process has ended, so many of them at most."""
    for number in range(MOST_SIGNALS):
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(rng.choice(SIGNALS))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), rng.choice((0.001, 0.05, 0.3)))
            return number + 1
    await asyncio.wait_for(child.wait(), PATIENCE_S)
    return MOST_SIGNALS


async def _slots(http: aiohttp.ClientSession, taken: int) -> float:
    """Seconds until so many slots are taken on a server that is ready."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with http.get("/readyz") as ready, http.get("/healthz") as answer:
                health = cast(dict[str, Any], await answer.json())
            if ready.status == 200 and health["slots"]["taken"] == taken:
                return time.monotonic() - began
            await asyncio.sleep(LOOK_S)


async def _line(child: Process) -> str:
    assert child.stdout is not None
    told = await asyncio.wait_for(child.stdout.readline(), PATIENCE_S)
    assert told, f"a process ended with {await child.wait()} before its time"
    return told.decode().strip()


@contextlib.asynccontextmanager
async def _process(module: str, *flags: str) -> AsyncIterator[Process]:
    nowhere = str(Path(tempfile.gettempdir()) / f"none-{secrets.token_hex(4)}.sqlite")
    environ = {**os.environ, "TICK_S": "0", "CONTINUUM_KEYS": nowhere}
    environ["CONTINUUM_LOG_LEVEL"] = "error"
    command = (sys.executable, "-m", module, *flags)
    child = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=environ)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _caller(url: str) -> None:
    """Calls, and says so now and then as long as new pictures come."""
    speech = (8_000 * np.sin(np.arange(RATE) * 0.04)).astype(np.int16)
    async with Caller(url, Microphone(speech, repeat=True)) as call:
        new = asyncio.Event()
        call.on_picture = lambda picture: new.set()
        await call.start("mira")
        while True:
            new.clear()
            await new.wait()
            print("a picture", flush=True)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(_caller(sys.argv[1]))
