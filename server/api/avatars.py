"""Enrolment over HTTP (docs/protocol.md, section 11): landmarks, preview, add, remove.

For operators, and for local requests to a server without keys. Bodies are read up to a limit and
never written to disk unencrypted; computation runs on threads of its own.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import BodyPartReader, StreamReader, web

from server.api.links import link
from server.api.middleware import MANAGER, SETTINGS, UPLOADS, respond
from server.auth.access import CALLER
from server.errors import BadRequest, TooLarge, UnsupportedMediaType

MAX_FIELD: Final = 256 * 1024
TYPES: Final = ("image/png", "image/jpeg", "image/webp")
_TEXTS: Final = ("id", "name", "consent")
_LIMITS: Final = {"picture": 0, "landmarks": MAX_FIELD} | dict.fromkeys(_TEXTS, 200)  # 0: settings


def routes() -> list[web.RouteDef]:
    """Every route of pictures of one's own."""
    return [
        web.post("/v1/enrolments", find),
        web.post("/v1/enrolments/preview", preview),
        web.post("/v1/avatars", add),
        web.delete("/v1/avatars/{avatar}", remove),
    ]


async def find(request: web.Request) -> web.Response:
    """``POST /v1/enrolments``: a picture in, its landmarks out."""
    if request.content_type not in TYPES:
        raise UnsupportedMediaType(f"Send one of {', '.join(TYPES)}, not {request.content_type}.")
    data = await _read(request.content, "picture", _most(request, "picture"))
    return respond(await request.app[UPLOADS].run(request.app[MANAGER].avatars.own.find, data))


async def preview(request: web.Request) -> web.Response:
    """``POST /v1/enrolments/preview``: picture, landmarks and perhaps consent in, a PNG out."""
    form = await _form(request)
    own = request.app[MANAGER].avatars.own
    made = await request.app[UPLOADS].run(
        own.preview,
        form["picture"],
        form["landmarks"],
        form.get("consent", b"").decode("utf-8", "replace"),
    )
    return web.Response(body=made, content_type="image/png")


async def add(request: web.Request) -> web.Response:
    """``POST /v1/avatars``: picture, landmarks and consent in; an avatar that stays."""
    form = await _form(request)
    wanted, name, consent = (form.get(key, b"").decode("utf-8", "replace") for key in _TEXTS)
    avatars, actor = request.app[MANAGER].avatars, request[CALLER].actor
    avatar = await request.app[UPLOADS].run(
        avatars.own.add,
        wanted.strip(),
        name.strip(),
        form["picture"],
        form["landmarks"],
        consent.strip(),
        actor,
    )
    await avatars.load()
    card = avatars.card(avatar)
    return respond(card.describe(), 201, {"Location": link(request, f"/v1/avatars/{card.id}")})


async def remove(request: web.Request) -> web.Response:
    """``DELETE /v1/avatars/{id}``: no longer on offer, sessions ended, picture erased."""
    manager, avatar = request.app[MANAGER], request.match_info["avatar"]
    await asyncio.to_thread(manager.avatars.own.remove, avatar, request[CALLER].actor)
    await manager.renew()
    return web.Response(status=204)


async def _form(request: web.Request) -> dict[str, bytes]:
    if request.content_type != "multipart/form-data":
        raise UnsupportedMediaType(f"Send multipart/form-data, not {request.content_type}.")
    out: dict[str, bytes] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name not in _LIMITS:
                raise BadRequest(f"Fields are {', '.join(_LIMITS)}.")
            out[part.name] = await _part(part, _most(request, part.name))
    except ValueError as failure:
        raise BadRequest(f"The form cannot be read: {failure}") from failure
    missing = [name for name in ("picture", "landmarks") if not out.get(name)]
    if missing:
        raise BadRequest(f"The form lacks {', '.join(missing)}.")
    return out


async def _part(part: BodyPartReader, most: int) -> bytes:
    name, data = str(part.name), bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        _check(len(data), name, most)
    return bytes(data)


async def _read(content: StreamReader, name: str, most: int) -> bytes:
    data = bytearray()
    while not content.at_eof():
        data += await content.read(64 * 1024)
        _check(len(data), name, most)
    return bytes(data)


def _most(request: web.Request, name: str) -> int:
    return request.app[SETTINGS].picture_bytes if name == "picture" else _LIMITS[name]


def _check(size: int, name: str, most: int) -> None:
    if size > most:
        raise TooLarge(f"{name} may have {most} bytes.")
