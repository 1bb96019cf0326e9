"""``/v1/recordings``: finished recordings, for operators and for the key that owns the session.

Blocking work runs on a thread. A file is served only while the consent to record it is valid;
deleting needs no consent.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from server.api import answers
from server.api.middleware import RECORDINGS, respond
from server.api.requests import File, RecordingQuery
from server.api.routes import Content, RouteTable
from server.api.validation import parse_query
from server.auth.access import CALLER, Caller, May
from server.auth.keys import KeyRole
from server.errors import (
    AvatarUnusable,
    ConsentRequired,
    RecordingState,
    RegistryDown,
    UnknownRecording,
)
from server.recordings.store import Card

routes = RouteTable()
ONE: Final = "/v1/recordings/{recording}"
LENDING = (UnknownRecording, RecordingState, ConsentRequired, AvatarUnusable, RegistryDown)


@routes(
    "GET",
    "/v1/recordings",
    May.KEEP,
    query=RecordingQuery,
    answer=Content(answers.Recordings),
)
async def listing(request: web.Request) -> web.Response:
    """Recordings, newest first."""
    asked = parse_query(RecordingQuery, request.query)
    recordings, caller = request.app[RECORDINGS], request[CALLER]

    def read() -> list[dict[str, object]]:
        cards = [card for card in recordings.cards() if may_have(caller, card)]
        wanted = [card for card in cards if asked.session in ("", card.session)]
        return [recordings.about(card) for card in wanted[: asked.limit]]

    shown: list[Any] = await asyncio.to_thread(read)
    return respond({"recordings": shown})


@routes("GET", ONE, May.KEEP, answer=Content(answers.Recording), errors=(UnknownRecording,))
async def describe(request: web.Request) -> web.Response:
    """One recording."""
    card = await _card(request)
    return respond(await asyncio.to_thread(request.app[RECORDINGS].about, card))


@routes("GET", ONE + "/file", May.KEEP, answer=Content(File, "video/mp4"), errors=LENDING)
async def fetch(request: web.Request) -> web.StreamResponse:
    """The file, or with ``Range`` a part of it."""
    card = await _card(request)
    actor = request[CALLER].actor
    path = await asyncio.to_thread(request.app[RECORDINGS].lend, card, actor)
    headers = {
        "Cache-Control": "private, no-store",  # what is revoked is not shown from a cache
        "Content-Disposition": f'attachment; filename="{card.id}.mp4"',
    }
    return web.FileResponse(path, headers=headers)


@routes("DELETE", ONE, May.KEEP, status=204, errors=(UnknownRecording, RecordingState))
async def delete(request: web.Request) -> web.Response:
    """Delete a recording."""
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
