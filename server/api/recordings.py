"""``/v1/recordings``: finished recordings, for operators and for the key that owns the session.

Blocking work runs on a thread. A file is served only while the consent to record it is valid;
deleting needs no consent.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from server.api.middleware import RECORDINGS, respond
from server.auth.access import CALLER, Caller
from server.auth.keys import KeyRole
from server.errors import BadRequest, UnknownRecording
from server.recordings.store import Card

MAX_PAGE: Final = 1000


def routes() -> list[web.RouteDef]:
    """Every route of finished recordings."""
    one = "/v1/recordings/{recording}"
    return [
        web.get("/v1/recordings", listing),
        web.get(one, describe),
        web.get(one + "/file", fetch),
        web.delete(one, delete),
    ]


async def listing(request: web.Request) -> web.Response:
    """``GET /v1/recordings``: the newest, perhaps of one session alone."""
    most, session = _limit(request.query.get("limit", "100")), request.query.get("session", "")
    recordings, caller = request.app[RECORDINGS], request[CALLER]

    def read() -> list[dict[str, object]]:
        cards = [card for card in recordings.cards() if may_have(caller, card)]
        wanted = [card for card in cards if session in ("", card.session)]
        return [recordings.about(card) for card in wanted[:most]]

    shown: list[Any] = await asyncio.to_thread(read)
    return respond({"recordings": shown})


async def describe(request: web.Request) -> web.Response:
    """``GET /v1/recordings/{id}``."""
    card = await _card(request)
    return respond(await asyncio.to_thread(request.app[RECORDINGS].about, card))


async def fetch(request: web.Request) -> web.StreamResponse:
    """``GET /v1/recordings/{id}/file``: the file or, with ``Range``, a part of it."""
    card = await _card(request)
    actor = request[CALLER].actor
    path = await asyncio.to_thread(request.app[RECORDINGS].lend, card, actor)
    headers = {
        "Cache-Control": "private, no-store",  # what is revoked is not shown from a cache
        "Content-Disposition": f'attachment; filename="{card.id}.mp4"',
    }
    return web.FileResponse(path, headers=headers)


async def delete(request: web.Request) -> web.Response:
    """``DELETE /v1/recordings/{id}``."""
    card = await _card(request)
    await asyncio.to_thread(request.app[RECORDINGS].delete, card, request[CALLER].actor)
    return web.Response(status=204)


async def _card(request: web.Request) -> Card:
    """The recording of the path; one that the caller may not have does not exist for them."""
    name = request.match_info["recording"]
    card = await asyncio.to_thread(request.app[RECORDINGS].card, name)
    if not may_have(request[CALLER], card):
        raise UnknownRecording("There is no such recording, or it was deleted.")
    return card


def may_have(caller: Caller, card: Card) -> bool:
    """Operators have every recording, an application those of its key's sessions."""
    return caller.role is KeyRole.OPERATOR or caller.key == card.owner != ""


def _limit(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise BadRequest(f"limit must be a whole number from 1 to {MAX_PAGE}, not {text[:40]!r}")
    return int(text)
