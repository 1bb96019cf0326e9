"""Long-lived tasks: a death is logged, told and, where that is meant, survived."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.background import tasks
from server.background.pool import Pool
from server.background.tasks import Tasks
from server.errors import Unavailable


async def test_a_task_that_dies_is_told_to_its_owner_and_to_health() -> None:
    told: list[str] = []
    owned = Tasks(lambda name, why: told.append(f"{name}: {why}"))

    async def work() -> None:
        raise ValueError("no bread")

    await owned.start("bakery", work)
    assert told == ["bakery: no bread"]
    assert owned.describe() == {"dead": {"bakery": "ValueError: no bread"}, "restarts": {}}


async def test_a_task_that_shall_live_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RESTART_S", 0.0)
    owned, lives, alive = Tasks(), [], asyncio.Event()

    async def work() -> None:
        lives.append(1)
        if len(lives) < 3:
            raise ValueError("not yet")
        alive.set()
        await asyncio.Event().wait()

    task = owned.start("phoenix", work, restart=True)
    await alive.wait()
    assert owned.describe() == {"dead": {}, "restarts": {"phoenix": 2}}
    await owned.close()
    assert task.cancelled()


async def test_a_pool_refuses_what_would_wait_too_long_and_recovers() -> None:
    pool, go = Pool("uploads", threads=1, waiting=1), threading.Event()
    running = [asyncio.create_task(pool.run(go.wait)) for _ in range(2)]
    try:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="uploads"):
                await pool.run(go.wait)
            running[1].cancel()  # one that only waited leaves its place
            await asyncio.gather(running[1], return_exceptions=True)
            running[1] = asyncio.create_task(pool.run(go.wait))
            await asyncio.sleep(0)
    finally:
        go.set()
    assert await asyncio.gather(*running) == [True, True]
    await pool.close()
