"""Avatars over HTTP: who can be called, and pictures of one's own (docs/protocol.md, section 11).

Bodies are read up to a limit and never touch the disk unencrypted; what computes does so on threads
of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from server.api import answers
from server.api.forms import read_bytes, read_form
from server.api.links import link
from server.api.middleware import MANAGER, SETTINGS, UPLOADS, respond
from server.api.requests import File, PictureForm
from server.api.routes import FORM, Content, RouteTable
from server.auth.access import CALLER, May
from server.errors import (
    AvatarBundled,
    AvatarRefused,
    AvatarsTaken,
    AvatarUnusable,
    ConsentRequired,
    Draining,
    NotReady,
    PictureRefused,
    RegistryDown,
    Unavailable,
    UnknownAvatar,
    UnsupportedMediaType,
)
from server.sessions.session_manager import SessionManager

MAX_FIELD: Final = 256 * 1024
MAX_TEXT: Final = 200
TYPES: Final = ("image/png", "image/jpeg", "image/webp")


routes = RouteTable()
ONE: Final = "/v1/avatars/{avatar}"
OFFERED = (UnknownAvatar, ConsentRequired, RegistryDown, AvatarUnusable)
REFUSED = (PictureRefused, ConsentRequired, RegistryDown, Unavailable)


@routes(
    "GET",
    "/v1/avatars",
    May.SEE,
    answer=Content(answers.Avatars),
    errors=(NotReady, Draining),
)
async def listing(request: web.Request) -> web.Response:
    """Every avatar on offer."""
    manager = request.app[MANAGER]
    cards = manager.avatars.cards()
    if not cards:
        manager.check()
    return respond({"avatars": [card.describe() for card in cards]})


@routes("GET", ONE, May.SEE, answer=Content(answers.Avatar), errors=(UnknownAvatar,))
async def describe(request: web.Request) -> web.Response:
    """One avatar."""
    return respond(request.app[MANAGER].avatars.card(request.match_info["avatar"]).describe())


@routes("GET", ONE + "/picture", May.SEE, answer=Content(File, "image/*"), errors=OFFERED)
async def picture(request: web.Request) -> web.Response:
    """Its picture."""
    avatars = request.app[MANAGER].avatars
    card = avatars.card(request.match_info["avatar"])
    headers = {"Cache-Control": "private, no-cache"}  # a revoked picture is not shown from a cache
    body = await avatars.picture(card.id)
    return web.Response(body=body, content_type=card.picture_type, headers=headers)


@routes(
    "POST",
    "/v1/enrolments",
    May.ADMINISTER,
    body=Content(File, "image/*"),
    answer=Content(dict[str, Any]),
    errors=REFUSED,
)
async def find(request: web.Request) -> web.Response:
    """A picture's landmarks."""
    if request.content_type not in TYPES:
        raise UnsupportedMediaType(f"Send one of {', '.join(TYPES)}, not {request.content_type}.")
    data = await read_bytes(request, request.app[SETTINGS].picture_bytes, "picture")
    find = request.app[MANAGER].avatars.enrolment.find
    return respond(await request.app[UPLOADS].run(find, data))


@routes(
    "POST",
    "/v1/enrolments/preview",
    May.ADMINISTER,
    body=Content(PictureForm, FORM),
    answer=Content(File, "image/png"),
    errors=REFUSED,
)
async def preview(request: web.Request) -> web.Response:
    """Points, fit and, with consent, test frames."""
    form = await _form(request)
    made = await request.app[UPLOADS].run(
        request.app[MANAGER].avatars.enrolment.preview,
        form.picture,
        form.landmarks,
        form.consent,
    )
    return web.Response(body=made, content_type="image/png")


@routes(
    "POST",
    "/v1/avatars",
    May.ADMINISTER,
    body=Content(PictureForm, FORM),
    answer=Content(answers.Avatar),
    status=201,
    errors=(*REFUSED, AvatarRefused, AvatarsTaken),
)
async def add(request: web.Request) -> web.Response:
    """Enrol a picture of one's own as an avatar that stays."""
    form = await _form(request)
    manager, actor = request.app[MANAGER], request[CALLER].actor
    avatars = manager.avatars
    avatar = await request.app[UPLOADS].run(
        avatars.enrolment.add,
        form.id.strip(),
        form.name.strip(),
        form.picture,
        form.landmarks,
        form.consent.strip(),
        actor,
    )
    await avatars.load()
    card = avatars.card(avatar)
    if isinstance(manager, SessionManager):  # a front has no model; its workers make avatars ready
        manager.tasks.start(f"prepare {card.id}", lambda: avatars.prepare([card.id]))
    return respond(card.describe(), 201, {"Location": link(request, f"/v1/avatars/{card.id}")})


@routes(
    "DELETE",
    ONE,
    May.ADMINISTER,
    status=204,
    errors=(UnknownAvatar, AvatarBundled, RegistryDown),
)
async def remove(request: web.Request) -> web.Response:
    """Remove an enrolled avatar: its sessions end, its picture is erased."""
    manager, avatar = request.app[MANAGER], request.match_info["avatar"]
    await asyncio.to_thread(manager.avatars.enrolment.remove, avatar, request[CALLER].actor)
    await manager.renew()
    return web.Response(status=204)


async def _form(request: web.Request) -> PictureForm:
    limits = {
        "picture": request.app[SETTINGS].picture_bytes,
        "landmarks": MAX_FIELD,
        **dict.fromkeys(("id", "name", "consent"), MAX_TEXT),
    }
    return await read_form(request, PictureForm, limits)
