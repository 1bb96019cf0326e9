"""What a server speaks and answers with (docs/voices.md, docs/answers.md)."""

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


@routes("GET", "/v1/answers", May.PERFORM, answer=Content(answers.Answering))
async def answering(request: web.Request) -> web.Response:
    """Whether sessions can answer, and what is missing where they cannot."""
    has = request.app[MANAGER].answers
    ears = has.chat is not None and has.recognizer is not None
    return respond(answers.Answering(has.chat is not None, ears, has.notice))
