"""The worker: ``POST /launch`` with a LiveKit url and token, and an avatar joins that room.

Bodies are JSON, refusals problem+json. Each avatar in a room is one session of a Continuum server.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from client.errors import CallError
from client.live import LiveAvatar
from integrations.livekit.participant import AvatarParticipant

log = logging.getLogger(__name__)

JOIN_S: Final = 20.0
RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Where the avatars live, who they are by default, and how many rooms at a time."""

    continuum: str
    continuum_key: str = ""
    avatar: str = "mira"
    key: str = ""  # asked of who launches; empty: nobody is asked
    rooms: int = 4


class Worker:
    """Avatars in rooms."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.running: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    def app(self) -> web.Application:
        """``POST /launch``, ``DELETE /launch/{id}``."""
        app = web.Application(middlewares=[self._admit])
        app.router.add_post("/launch", self.launch)
        app.router.add_delete("/launch/{id}", self.end)
        app.on_shutdown.append(self._close)
        return app

    async def launch(self, request: web.Request) -> web.Response:
        """201 when the avatar is in the room."""
        asked = await _asked(request)
        if len(self.running) >= self.options.rooms:
            said = f"all {self.options.rooms} avatars of this worker are in rooms"
            return _problem(503, "no-slot", said, {"Retry-After": str(RETRY_S)})
        live = LiveAvatar(
            self.options.continuum,
            asked.get("avatar") or self.options.avatar,
            self.options.continuum_key,
        )
        participant, name = AvatarParticipant(live), f"launch-{next(self._numbers)}"
        running = asyncio.create_task(participant.run(asked["url"], asked["token"]), name=name)
        self.running[name] = running
        running.add_done_callback(self._ended)
        failed = await _until_joined(participant, running)
        return web.json_response({"id": name}, status=201) if failed is None else failed

    async def end(self, request: web.Request) -> web.Response:
        """204: the avatar has left."""
        running = self.running.get(request.match_info["id"])
        if running is None:
            return _problem(404, "not-found", "no such avatar is in a room")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return web.Response(status=204)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self.running.pop(running.get_name(), None)
        if not running.cancelled() and (failure := running.exception()) is not None:
            log.warning("%s ended: %s", running.get_name(), failure)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.options.key and not hmac.compare_digest(shown.encode(), self.options.key.encode()):
            said = "Authorization: Bearer KEY is needed, with the worker's key"
            return _problem(401, "unauthorized", said, {"WWW-Authenticate": "Bearer"})
        return await handler(request)

    async def _close(self, app: web.Application) -> None:
        running = list(self.running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _until_joined(
    participant: AvatarParticipant, running: asyncio.Task[None]
) -> web.Response | None:
    joining = asyncio.create_task(participant.joined.wait())
    done, _ = await asyncio.wait({joining, running}, timeout=JOIN_S, return_when="FIRST_COMPLETED")
    joining.cancel()
    if joining in done:
        return None
    if running not in done:
        running.cancel()
        return _problem(504, "not-joined", f"the room was not joined within {JOIN_S:.0f} s")
    failure = None if running.cancelled() else running.exception()
    why = str(failure) if isinstance(failure, CallError) else "the avatar has left"
    return _problem(502, "not-joined", why)


async def _asked(request: web.Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        asked = None
    fields = {"url": str, "token": str}
    if not isinstance(asked, dict) or any(
        not isinstance(asked.get(name), kind) for name, kind in fields.items()
    ):
        raise web.HTTPBadRequest(text="the body is JSON with url and token, both text")
    if not asked["url"].startswith(("ws://", "wss://", "http://", "https://")):
        raise web.HTTPBadRequest(text="url is that of a LiveKit server: wss://...")
    return asked


def _problem(
    status: int, kind: str, detail: str, headers: dict[str, str] | None = None
) -> web.Response:
    body = {"type": f"/problems/{kind}", "status": status, "detail": detail}
    return web.json_response(
        body, status=status, headers=headers, content_type="application/problem+json"
    )
