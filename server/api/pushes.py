"""Sending a session to media servers (docs/protocol.md, section 12)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from server.api import answers
from server.api.forms import read_json
from server.api.middleware import LOCAL, PUSHES, respond
from server.api.requests import NewPush
from server.api.routes import Content, RouteTable
from server.api.sessions import GRANTED, SESSION, own
from server.auth.access import May
from server.errors import PushRefused, TooManyPushes, UnknownPush, UnknownSession

routes = RouteTable()
ALL: Final = SESSION + "/push"
ONE: Final = ALL + "/{push}"
FOUND: Final = (UnknownSession, UnknownPush)


@routes(
    "POST",
    ALL,
    May.OWN,
    body=Content(NewPush),
    answer=Content(answers.PushNow),
    status=201,
    errors=(UnknownSession, PushRefused, TooManyPushes, *GRANTED),
)
async def push(request: web.Request) -> web.Response:
    """Send what the session's viewers see to a media server, by WHIP or RTMP."""
    session = own(request)
    asked = await read_json(request, NewPush)
    await request.app[LOCAL].manager.stands(session)
    return respond(request.app[PUSHES].start(session, asked.url, asked.token).describe(), 201)


@routes("GET", ALL, May.OWN, answer=Content(answers.PushList), errors=(UnknownSession,))
async def listing(request: web.Request) -> web.Response:
    """The pushes of a session."""
    pushes = request.app[PUSHES].all(own(request))
    return respond({"pushes": [each.describe() for each in pushes]})


@routes("GET", ONE, May.OWN, answer=Content(answers.PushNow), errors=FOUND)
async def describe(request: web.Request) -> web.Response:
    """One push, and how it goes."""
    found = request.app[PUSHES].find(own(request), request.match_info["push"])
    return respond(found.describe())


@routes("DELETE", ONE, May.OWN, status=204, errors=FOUND)
async def stop(request: web.Request) -> web.Response:
    """End a push."""
    await request.app[PUSHES].stop(own(request), request.match_info["push"])
    return web.Response(status=204)
