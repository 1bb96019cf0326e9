"""Routes and lifecycle: HTTP in front of the session manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import av
from aiohttp import web

from server.api import (
    avatars,
    calls,
    consents,
    health,
    key_watch,
    pushes,
    recordings,
    sessions,
    speech,
    speech_socket,
    tokens,
    voices,
)
from server.api.middleware import (
    ACCESS,
    LOCAL,
    MANAGER,
    PUSHES,
    RECORDINGS,
    ROUTES,
    SETTINGS,
    SIGNALLING,
    UPLOADS,
    admitted,
    cors,
    hardened,
    problems,
    unpacked,
)
from server.api.routes import Routes, RouteTable
from server.auth.access import Access, May, is_loopback
from server.auth.jwt_tokens import Tokens
from server.auth.key_cache import KeyCache
from server.auth.keys import KeyStore
from server.auth.quota import Quota
from server.background.pool import Pool
from server.cluster.backend import Backend
from server.cluster.front import Front
from server.cluster.local import LocalSignalling
from server.errors import NotFound
from server.push.pushes import Pushes
from server.recordings.recordings import Recordings
from server.recordings.store import RecordingStore, StoreTaken
from server.rtc import aiortc_adapter
from server.sessions.session_manager import SessionManager
from server.settings import Settings, SettingsError

log = logging.getLogger(__name__)

STORE = web.AppKey[RecordingStore | None]("recording_store")
WEB = Path(__file__).resolve().parents[2] / "client" / "web"
UPLOADS_AT_ONCE, UPLOADS_WAITING = 2, 8  # pictures that strangers send, seconds of work each
MODULES = (
    health,
    avatars,
    voices,
    tokens,
    calls,
    sessions,
    speech,
    speech_socket,
    consents,
    recordings,
    pushes,
)
page_routes = RouteTable()
OpenServer = Callable[[Settings], Awaitable[Backend]]


def build(settings: Settings, open_server: OpenServer) -> web.Application:
    """The application; the session manager opens when it starts and closes when it ends."""
    aiortc_adapter.check()
    av.logging.set_level(av.logging.ERROR)
    middlewares = [hardened, cors, problems, admitted, unpacked]
    app = web.Application(middlewares=middlewares, client_max_size=calls.MAX_BODY)
    app[SETTINGS] = settings
    app[ROUTES] = Routes([*(module.routes for module in MODULES), page_routes])
    app[ACCESS] = access_of(settings)
    app[UPLOADS] = Pool("uploads", UPLOADS_AT_ONCE, UPLOADS_WAITING)
    app.cleanup_ctx.append(_uploads)
    app.cleanup_ctx.append(_store)
    app.cleanup_ctx.append(_manager(open_server))
    app.cleanup_ctx.append(_open_recordings)
    app.cleanup_ctx.append(_signalling)
    app.cleanup_ctx.append(_watch_keys)
    app.on_cleanup.append(_lock_up)
    app.add_routes(app[ROUTES].aiohttp())
    return app


def access_of(settings: Settings) -> Access:
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
    return Access(settings, KeyCache(store) if keyed else None, secret)


async def _lock_up(app: web.Application) -> None:
    if (keyring := app[ACCESS].keyring) is not None:
        await asyncio.to_thread(keyring.close)


def _manager(open_server: OpenServer) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifecycle(app: web.Application) -> AsyncIterator[None]:
        manager = await open_server(app[SETTINGS])
        app[MANAGER] = manager
        manager.tasks.start("warm-up", lambda: _warm(manager))
        yield
        await manager.close()

    return lifecycle


async def _store(app: web.Application) -> AsyncIterator[None]:
    """Claimed before the model is loaded, let go when the last recording is finished."""
    folder = app[SETTINGS].recordings
    store = app[STORE] = RecordingStore(folder) if folder else None
    try:
        if store is not None:
            await asyncio.to_thread(store.claim)
    except StoreTaken as taken:
        raise SettingsError(f"recordings: {taken}") from taken
    yield
    if store is not None:
        store.release()


async def _open_recordings(app: web.Application) -> AsyncIterator[None]:
    opened = app[RECORDINGS] = Recordings(app[STORE], app[MANAGER].provenance)
    recovering = app[MANAGER].tasks.start("recordings", opened.recover)
    yield
    await asyncio.gather(recovering, return_exceptions=True)
    await opened.close()


async def _signalling(app: web.Application) -> AsyncIterator[None]:
    app[PUSHES] = Pushes(app[SETTINGS])
    backend = app[MANAGER]
    if isinstance(backend, Front):
        app[SIGNALLING] = backend
    elif isinstance(backend, SessionManager):
        quota = Quota(app[SETTINGS].sessions_per_key)
        app[SIGNALLING] = app[LOCAL] = LocalSignalling(backend, quota, app[RECORDINGS], app[PUSHES])
    yield
    await app[PUSHES].close()


async def _watch_keys(app: web.Application) -> AsyncIterator[None]:
    keyring = app[ACCESS].keyring
    if keyring is not None:
        watch = partial(key_watch.watch, keyring, app[SIGNALLING])
        app[MANAGER].tasks.start("keys", watch, restart=True)
    yield


async def _uploads(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[UPLOADS].close()


async def _warm(manager: Backend) -> None:
    try:
        await manager.open()
    except Exception as failure:
        log.exception("warm-up failed")
        manager.problem = f"{type(failure).__name__}: {failure}"
    finally:
        manager.settled.set()


@page_routes("GET", "/{file:(?!v1/).*}", May.ANYBODY, documented=False)
async def page(request: web.Request) -> web.StreamResponse:
    """The page and its files."""
    name = request.match_info["file"] or "index.html"
    path = (WEB / name).resolve()
    if not path.is_relative_to(WEB) or not path.is_file():
        raise NotFound(f"There is nothing at /{name[:80]}. The page is at /.")
    return web.FileResponse(path, headers={"Cache-Control": "no-cache"})
