"""A small reverse proxy that serves a server in a folder of its own: ``http://.../avatar/``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from aiohttp import ClientSession, web

FOLDER = "/avatar"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}


@contextlib.contextmanager
def folder(upstream: str, **added: str) -> Iterator[str]:
    """The folder's URL, until the block ends. ``added`` are headers for the upstream server."""
    ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
    started = threading.Event()

    async def run() -> None:
        async with ClientSession(auto_decompress=False) as http:
            app = web.Application()
            app.router.add_route("*", FOLDER + "{path:/.*}", _forward(http, upstream, added))
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            over = asyncio.Event()
            ready.append((asyncio.get_running_loop(), over, runner.addresses[0][1]))
            started.set()
            await over.wait()
            await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="proxy")
    thread.start()
    assert started.wait(10)
    loop, over, port = ready[0]
    try:
        yield f"http://127.0.0.1:{port}{FOLDER}/"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


def _forward(http: ClientSession, upstream: str, added: dict[str, str]) -> object:
    async def forward(request: web.Request) -> web.Response:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        headers |= {name.replace("_", "-"): value for name, value in added.items()}
        url = upstream.rstrip("/") + request.match_info["path"]
        async with http.request(
            request.method,
            url,
            params=request.query,
            headers=headers,
            data=await request.read() or None,
            allow_redirects=False,
        ) as answer:
            body = await answer.read()
            kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
            given = web.Response(status=answer.status, body=body)
            given.headers.clear()
            for name, value in kept:
                given.headers.add(name, value)
            return given

    return forward
