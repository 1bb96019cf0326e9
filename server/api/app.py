"""Routes and lifecycle: HTTP in front of the house."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
from aiohttp import web

from server import __version__
from server.api import (
    avatars as enrolments,
    calls,
    consents,
    key_watch,
    openapi,
    recordings as library,
)
from server.api.middleware import (
    ACCESS,
    HOUSE,
    QUOTA,
    RECORDINGS,
    SETTINGS,
    UPLOADS,
    admitted,
    cors,
    hardened,
    problems,
    respond,
    unpacked,
)
from server.auth.access import Access, is_loopback
from server.auth.jwt_tokens import Tokens
from server.auth.key_cache import Keyring
from server.auth.keys import KeyStore
from server.auth.quota import Quota
from server.errors import NotFound, NotReady
from server.pool import Pool
from server.recordings.recordings import Recordings
from server.recordings.store import Shelf, ShelfTaken
from server.rtc import aiortc_adapter
from server.sessions.session_manager import House
from server.settings import Settings, SettingsError

log = logging.getLogger(__name__)

SHELF = web.AppKey[Shelf | None]("shelf")
WEB = Path(__file__).resolve().parents[2] / "client" / "web"
UPLOADS_AT_ONCE, UPLOADS_WAITING = 2, 8  # pictures that strangers send, seconds of work each
OpenHouse = Callable[[Settings], Awaitable[House]]


def build(settings: Settings, open_house: OpenHouse) -> web.Application:
    """The application; the house is opened when it starts and closed when it ends."""
    aiortc_adapter.check()
    av.logging.set_level(av.logging.ERROR)
    middlewares = [hardened, cors, problems, admitted, unpacked]
    app = web.Application(middlewares=middlewares, client_max_size=calls.MAX_BODY)
    app[SETTINGS] = settings
    app[ACCESS] = doorkeeper(settings)
    app[QUOTA] = Quota(settings.sessions_per_key)
    app[UPLOADS] = Pool("uploads", UPLOADS_AT_ONCE, UPLOADS_WAITING)
    app.cleanup_ctx.append(_uploads)
    app.cleanup_ctx.append(_shelf)
    app.cleanup_ctx.append(_house(open_house))
    app.cleanup_ctx.append(_recordings)
    app.cleanup_ctx.append(_watch_keys)
    app.on_cleanup.append(_lock_up)
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/openapi.json", openapi_json),
            web.get("/v1/avatars", avatars),
            web.get("/v1/avatars/{avatar}", avatar),
            web.get("/v1/avatars/{avatar}/picture", picture),
            web.post("/v1/tokens", calls.hand_out),
            *calls.routes(),
            *enrolments.routes(),
            *consents.routes(),
            *library.routes(),
            web.get("/{file:(?!v1/).*}", page),
        ]
    )
    return app


def doorkeeper(settings: Settings) -> Access:
    """Who is let in. Raises ``SettingsError`` where everybody would be."""
    store = KeyStore(Path(settings.keys).expanduser())
    keyed = store.any_live()
    if not keyed and not is_loopback(settings.host):
        raise SettingsError(
            f"host {settings.host} can be reached by others, and {store.path} holds no API key."
            " Make one (continuum key create NAME --role operator), or listen on 127.0.0.1"
        )
    if not keyed:
        store.close()
    secret = Tokens(settings.token_secret, settings.audience, settings.token_ttl_s)
    return Access(settings, Keyring(store) if keyed else None, secret)


async def _lock_up(app: web.Application) -> None:
    if (keyring := app[ACCESS].keyring) is not None:
        await asyncio.to_thread(keyring.close)


def _house(open_house: OpenHouse) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifecycle(app: web.Application) -> AsyncIterator[None]:
        house = await open_house(app[SETTINGS])
        app[HOUSE] = house
        house.tasks.start("warm-up", lambda: _warm(house))
        yield
        await house.close()

    return lifecycle


async def _shelf(app: web.Application) -> AsyncIterator[None]:
    """Claimed before the model is loaded, let go when the last recording is finished."""
    folder = app[SETTINGS].recordings
    shelf = app[SHELF] = Shelf(folder) if folder else None
    try:
        if shelf is not None:
            await asyncio.to_thread(shelf.claim)
    except ShelfTaken as taken:
        raise SettingsError(f"recordings: {taken}") from taken
    yield
    if shelf is not None:
        shelf.release()


async def _recordings(app: web.Application) -> AsyncIterator[None]:
    recordings = app[RECORDINGS] = Recordings(app[SHELF], app[HOUSE].marker)
    recovering = app[HOUSE].tasks.start("recordings", recordings.recover)
    yield
    await asyncio.gather(recovering, return_exceptions=True)
    await recordings.close()


async def _watch_keys(app: web.Application) -> AsyncIterator[None]:
    house, quota, keyring = app[HOUSE], app[QUOTA], app[ACCESS].keyring
    if keyring is not None:
        watch = partial(key_watch.watch, keyring, quota, house)
        house.tasks.start("keys", watch, restart=True)
    yield


async def _uploads(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[UPLOADS].close()


async def _warm(house: House) -> None:
    try:
        await house.open()
    except Exception as failure:
        log.exception("warm-up failed")
        house.problem = f"{type(failure).__name__}: {failure}"
    finally:
        house.settled.set()


async def healthz(request: web.Request) -> web.Response:
    """What runs, on which device, and why."""
    house = request.app[HOUSE]
    name, why = house.h264
    return respond(
        {
            **house.describe_health(),
            "version": __version__,
            "door": house.slots.door.value,
            "slots": {"total": house.slots.total, "taken": house.slots.taken},
            "model": house.describe_model(),
            "cost_ms": house.describe_cost(),
            "quality_level": house.governor.level,
            "h264": {"encoder": name, "reason": why},
            "versions": {
                "python": platform.python_version(),
                "aiortc": version("aiortc"),
                "av": version("av"),
                "aiohttp": version("aiohttp"),
            },
        }
    )


async def readyz(request: web.Request) -> web.Response:
    """200 only when a session would be let in, if there is a slot."""
    house = request.app[HOUSE]
    if house.problem is not None:
        raise NotReady(f"Warm-up failed: {house.problem}", retry_after_s=30)
    house.check()
    return respond({"status": "ready", "slots": house.slots.total})


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    house = request.app[HOUSE]
    return web.Response(
        body=house.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"}
    )


async def openapi_json(request: web.Request) -> web.Response:
    """The protocol for machines."""
    return respond(openapi.document())


async def avatars(request: web.Request) -> web.Response:
    """Every avatar on offer."""
    cards = request.app[HOUSE].avatars.cards()
    if not cards:
        request.app[HOUSE].slots.check()
    listed: list[Any] = [card.describe() for card in cards]
    return respond({"avatars": listed})


async def avatar(request: web.Request) -> web.Response:
    """One avatar."""
    return respond(request.app[HOUSE].avatars.card(request.match_info["avatar"]).describe())


async def picture(request: web.Request) -> web.Response:
    """Its reference picture."""
    avatars = request.app[HOUSE].avatars
    card = avatars.card(request.match_info["avatar"])
    headers = {"Cache-Control": "private, no-cache"}  # a revoked picture is not shown from a cache
    body = await avatars.picture(card.id)
    return web.Response(body=body, content_type=card.picture_type, headers=headers)


async def page(request: web.Request) -> web.StreamResponse:
    """The page and its files."""
    name = request.match_info["file"] or "index.html"
    path = (WEB / name).resolve()
    if not path.is_relative_to(WEB) or not path.is_file():
        raise NotFound(f"There is nothing at /{name[:80]}. The page is at /.")
    return web.FileResponse(path, headers={"Cache-Control": "no-cache"})
