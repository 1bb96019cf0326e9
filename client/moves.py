"""A session's events over HTTP, which outlive the worker that it runs on (docs/cluster.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

PAUSE_S: Final = 0.3
UNTIMED: Final = ClientTimeout(total=None, sock_connect=5)


async def moved(http: ClientSession, url: str, headers: Mapping[str, str]) -> str:
    """Waits until the session has lost its worker, or leaves it; the token to go on by.

    Empty when it ended otherwise. A front that went away is asked again, as another may answer.
    """
    while True:
        try:
            async with http.get(url, headers=headers, timeout=UNTIMED) as answer:
                if answer.status >= 400:
                    return str((await answer.json(content_type=None)).get("resume", ""))
                async for event in events(answer.content):
                    if event["type"] == "session_moved":
                        return str(event["resume"])
                return ""
        except (ClientError, OSError, TimeoutError, ValueError):
            await asyncio.sleep(PAUSE_S)


async def events(lines: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events, one JSON object each (HTML Living Standard, section 9.2)."""
    async for line in lines:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])
