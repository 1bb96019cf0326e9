"""Voices over HTTP: which there are (docs/voices.md)."""

from __future__ import annotations

from aiohttp import web

from server.api import answers
from server.api.middleware import MANAGER, respond
from server.api.routes import Content, RouteTable
from server.auth.access import May

routes = RouteTable()


@routes("GET", "/v1/voices", May.PERFORM, answer=Content(answers.Voices))
async def voices(request: web.Request) -> web.Response:
    """Voices that read text, the default first."""
    offer = request.app[MANAGER].voices
    named = [answers.Voice(v.name, v.language, v.natural) for v in offer.offered()]
    return respond(answers.Voices(named, offer.notice))
