"""The adaptor below aiortc: what its forgotten tasks leave behind, and how a peer is closed."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.exceptions import InvalidStateError

from server.rtc import aiortc_adapter
from tests.server.caller import calling, tone
from tests.server.conftest import Served


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()


async def forget(coroutine: Any) -> None:
    """Starts a task as aiortc does, and keeps nothing of it."""
    asyncio.ensure_future(coroutine)  # noqa: RUF006
    del coroutine
    await settle()


def listening() -> list[dict[str, Any]]:
    """What reaches the loop's handler of last resort from now on."""
    seen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    aiortc_adapter.own_orphans(loop)
    return seen


async def test_a_connection_that_closed_under_aiortcs_task_is_no_news() -> None:
    async def ours() -> None:
        raise InvalidStateError("ours to hear of")

    seen, peer = listening(), RTCPeerConnection()
    await peer.close()
    await forget(peer.createAnswer())
    assert seen == []
    await forget(ours())
    assert [str(context["exception"]) for context in seen] == ["ours to hear of"]


async def test_a_call_deleted_while_it_connects_leaves_nothing_unretrieved(served: Served) -> None:
    seen = listening()
    for wait_s in (0.0, 0.03, 0.1, 0.3):
        async with calling(served.http, tone) as caller:
            await asyncio.sleep(wait_s)
            await served.http.delete(caller.session, headers=caller.auth)
    await settle()
    assert seen == []


async def test_a_peer_that_cannot_close_is_told_and_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def close(self) -> None:
            raise ConnectionError("gone")

    with caplog.at_level(logging.WARNING, logger="server.rtc.aiortc_adapter"):
        await aiortc_adapter.close(Broken())  # type: ignore[arg-type]
    assert "gone" in caplog.text
