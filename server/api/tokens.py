"""Tokens for the browsers of an application's users (docs/protocol.md, section 10)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from server.api import answers
from server.api.forms import read_json
from server.api.middleware import ACCESS, MANAGER, SETTINGS, respond
from server.api.requests import NewToken
from server.api.routes import Content, RouteTable
from server.auth.access import CALLER, May
from server.errors import Forbidden, UnknownAvatar

routes = RouteTable()
TOKEN_TTL_S: Final = 300


@routes(
    "POST",
    "/v1/tokens",
    May.HAND_OUT,
    body=Content(NewToken),
    answer=Content(answers.Token),
    status=201,
    errors=(UnknownAvatar,),
)
async def hand_out(request: web.Request) -> web.Response:
    """A token for the browser of one of an application's users."""
    settings, caller = request.app[SETTINGS], request[CALLER]
    asked = await read_json(request, NewToken)
    ttl_s = min(TOKEN_TTL_S, settings.token_ttl_s) if asked.ttl_s is None else asked.ttl_s
    if not caller.key:
        raise Forbidden("This server has no keys, and needs no tokens.")
    if asked.avatar:
        request.app[MANAGER].avatars.card(asked.avatar)
    token, said = request.app[ACCESS].tokens.make(caller.key, asked.origin, asked.avatar, ttl_s)
    answer = answers.Token(token, said.expires_at, asked.origin, asked.avatar)
    return respond(answer, 201, {"Cache-Control": "no-store"})
