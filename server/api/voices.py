"""Voices over HTTP: which there are, and what else a page may offer (docs/voices.md)."""

from __future__ import annotations

from aiohttp import web

from server.api import answers
from server.api.middleware import MANAGER, SETTINGS, respond
from server.api.routes import Content, RouteTable
from server.auth.access import May

routes = RouteTable()


@routes("GET", "/v1/voices", May.PERFORM, answer=Content(answers.Voices))
async def voices(request: web.Request) -> web.Response:
    """Voices that read text, the default first, and whether avatars answer and hear."""
    offer, settings = request.app[MANAGER].voices, request.app[SETTINGS]
    named = [answers.Voice(v.name, v.language, v.natural) for v in offer.offered()]
    answered, heard = bool(settings.chat_url), bool(settings.hear_url)
    return respond(answers.Voices(named, offer.notice, answered, heard))
