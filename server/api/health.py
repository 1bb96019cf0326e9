"""What a server says of itself: health, readiness, metrics, and its protocol for machines."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from aiohttp import web

from server import __version__
from server.api import answers, openapi
from server.api.middleware import MANAGER, ROUTES, respond
from server.api.routes import Content, RouteTable
from server.auth.access import May
from server.errors import Draining, NoSlot, NotReady

routes = RouteTable()


@routes("GET", "/healthz", May.WATCH, answer=Content(answers.Health))
async def healthz(request: web.Request) -> web.Response:
    """What runs, on which device, and why."""
    manager = request.app[MANAGER]
    name, why = manager.h264
    return respond(
        {
            **manager.describe_health(),
            "version": __version__,
            "door": manager.slots.door.value,
            "slots": {"total": manager.slots.total, "taken": manager.slots.taken},
            "model": manager.describe_model(),
            "cost_ms": manager.cost.describe() if manager.cost else None,
            "quality_level": manager.load.governor.level,
            "h264": {"encoder": name, "reason": why},
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
    manager = request.app[MANAGER]
    if manager.problem is not None:
        raise NotReady(f"Warm-up failed: {manager.problem}", retry_after_s=30)
    manager.check()
    return respond(answers.Ready("ready", manager.slots.total))


@routes("GET", "/metrics", May.WATCH, answer=Content(str, "text/plain"))
async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    manager = request.app[MANAGER]
    return web.Response(
        body=manager.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"}
    )


@routes("GET", "/openapi.json", May.ANYBODY, answer=Content(dict[str, Any]))
async def openapi_json(request: web.Request) -> web.Response:
    """The protocol for machines."""
    return respond(openapi.document(request.app[ROUTES].all))
