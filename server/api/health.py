"""What a server says of itself: health, readiness, metrics, and its protocol for machines."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from aiohttp import web

from server import __version__
from server.api import answers, openapi
from server.api.middleware import ROUTES, SIGNALLING, respond
from server.api.routes import Content, RouteTable
from server.auth.access import May
from server.errors import Draining, NoSlot, NotReady

routes = RouteTable()


@routes("GET", "/healthz", May.WATCH, answer=Content(answers.Health))
async def healthz(request: web.Request) -> web.Response:
    """What runs, on which device, and why."""
    return respond(
        {
            **await request.app[SIGNALLING].health(),
            "version": __version__,
            "versions": {
                "python": platform.python_version(),
                "aiortc": version("aiortc"),
                "av": version("av"),
                "aiohttp": version("aiohttp"),
            },
        }
    )


@routes(
    "GET",
    "/readyz",
    May.ANYBODY,
    answer=Content(answers.Ready),
    errors=(NotReady, Draining, NoSlot),
)
async def readyz(request: web.Request) -> web.Response:
    """Whether sessions are let in: 200 only when one would be, if there is a slot."""
    return respond(answers.Ready("ready", await request.app[SIGNALLING].ready()))


@routes("GET", "/metrics", May.WATCH, answer=Content(str, "text/plain"))
async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    text = await request.app[SIGNALLING].metrics()
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})


@routes("GET", "/openapi.json", May.ANYBODY, answer=Content(dict[str, Any]))
async def openapi_json(request: web.Request) -> web.Response:
    """The protocol for machines."""
    return respond(openapi.document(request.app[ROUTES].all))
