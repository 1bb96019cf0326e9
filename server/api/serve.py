"""Runs a server from settings to shutdown.

The first SIGTERM or SIGINT drains: new sessions are refused; running ones, and requests about them,
go on. A second signal ends them at once, in order; further ones change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

from aiohttp import web

from server.api import tls
from server.api.app import OpenServer, build
from server.api.middleware import MANAGER
from server.observability.startup import Start
from server.settings import Settings

log = logging.getLogger(__name__)

SWITCH_S = 0.001  # so that the loop never waits long for a thread that computes
SIGNALS = (signal.SIGTERM, signal.SIGINT)
HTTP: Final[dict[str, Any]] = {
    "auto_decompress": False,  # 10 kB that hold 10 MB would be unpacked in the loop
    "shutdown_timeout": 2.0,
}


async def serve(
    settings: Settings, open_server: OpenServer, announce: Callable[[str], None]
) -> None:
    """Serves until a signal; ``announce`` gets the URL once calls are admitted.

    Raises ``OSError`` when the port is taken, and ``SettingsError`` when it would be open to all,
    or the certificate cannot be used.
    """
    sys.setswitchinterval(SWITCH_S)
    wrapped = tls.context(settings)
    asked = _signals()
    runner = web.AppRunner(build(settings, open_server), **HTTP)
    async with Start(announce) as start:
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port, ssl_context=wrapped)
            await site.start()
            start.listens(runner.app[MANAGER], _url(settings, runner))
            await asked.get()
            await _drain(runner.app[MANAGER].drain(), asked)
        finally:
            await runner.cleanup()
            for number in SIGNALS:  # the process ends, and with 0
                signal.signal(number, signal.SIG_IGN)


def _signals() -> asyncio.Queue[int]:
    """Signals as they come. The loop's own handlers would let the last ones kill the process: they
    go when it closes, and the interpreter ends later."""
    asked: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def heard(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(asked.put_nowait, number)

    for number in SIGNALS:
        signal.signal(number, heard)
    return asked


async def _drain(draining: Coroutine[Any, Any, None], asked: asyncio.Queue[int]) -> None:
    drain = asyncio.ensure_future(draining)
    again = asyncio.ensure_future(asked.get())
    await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
    for waiting in (drain, again):
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


def _url(settings: Settings, runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown  # RFC 3986, section 3.2.2
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}/"
