"""Sessions over HTTP: made, described, recorded, ended (docs/protocol.md, sections 2, 3 and 10)."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import Final

from aiohttp import web

from server.api import answers
from server.api.forms import read_json
from server.api.links import link
from server.api.middleware import ACCESS, LOCAL, SIGNALLING, respond
from server.api.requests import NewSession
from server.api.routes import Content, RouteTable
from server.auth import session_tokens
from server.auth.access import CALLER, May
from server.cluster.local import LocalSignalling
from server.cluster.signalling import Asked, Order
from server.errors import (
    AvatarUnusable,
    CannotMeasure,
    ConsentRequired,
    Draining,
    ModelUnusable,
    NoAnswers,
    NoSlot,
    NotDirected,
    NotInCluster,
    NotReady,
    RecordingRefused,
    RecordingState,
    RegistryDown,
    ResumeRefused,
    SessionMoved,
    TooManySessions,
    Unavailable,
    UnknownAvatar,
    UnknownSession,
)
from server.observability.trace import trace
from server.rtc.sdp_offer import PeerRole as Part
from server.sessions.options import Options
from server.sessions.session import Session

routes = RouteTable()
SESSION: Final = "/v1/sessions/{session}"
GRANTED: Final = (ConsentRequired, RegistryDown)
BEGUN: Final = (
    UnknownAvatar,
    *GRANTED,
    CannotMeasure,
    NotDirected,
    NoAnswers,
    TooManySessions,
    NoSlot,
    NotReady,
    ResumeRefused,
    Draining,
    AvatarUnusable,
    ModelUnusable,
    ResumeRefused,
)
RECORDED: Final = (UnknownSession, RecordingState, NotInCluster)


@routes(
    "POST",
    "/v1/sessions",
    May.PERFORM,
    body=Content(NewSession),
    answer=Content(answers.SessionMade),
    status=201,
    errors=BEGUN,
)
async def create(request: web.Request) -> web.Response:
    """Make a session that peers join later."""
    wanted = order(request, await read_json(request, NewSession))
    made = await request.app[SIGNALLING].create(wanted)
    path = f"/v1/sessions/{made.id}"
    doors = {role.value: link(request, f"{path}/{role.value}") for role in Part}
    doors["speech"] = link(request, f"{path}/speech")
    answer = answers.SessionMade(made.id, made.token, made.avatar, **doors)
    return respond(answer, 201, {"Location": link(request, path)})


@routes("GET", "/v1/sessions", May.KEEP, answer=Content(answers.SessionList))
async def listing(request: web.Request) -> web.Response:
    """Running sessions: an operator's view has all, a key's its own."""
    rows = await request.app[SIGNALLING].listing(request[CALLER])
    return respond({"sessions": rows})


@routes(
    "GET",
    SESSION + "/events",
    May.OWN,
    answer=Content(str, "text/event-stream"),
    errors=(UnknownSession, SessionMoved),
)
async def events(request: web.Request) -> web.StreamResponse:
    """What happens in the session, also when its worker ends (server-sent events)."""
    async with aclosing(request.app[SIGNALLING].events(asked(request))) as told:
        first = await anext(told)  # a refusal is a problem, not an empty stream
        stream = web.StreamResponse(headers={"Cache-Control": "no-store"})
        stream.content_type = "text/event-stream"
        await stream.prepare(request)
        with suppress(ConnectionError):
            await stream.write(f"data: {first}\n\n".encode())
            async for event in told:
                await stream.write(f"data: {event}\n\n".encode())
    return stream


@routes(
    "GET",
    SESSION,
    May.OWN,
    answer=Content(answers.SessionState),
    errors=(UnknownSession,),
)
async def describe(request: web.Request) -> web.Response:
    """State, media time, latency by stage."""
    return respond(await request.app[SIGNALLING].stats(asked(request)))


@routes("DELETE", SESSION, May.OWN, answer=Content(answers.Done), errors=(UnknownSession,))
async def end(request: web.Request) -> web.Response:
    """End the session and every peer of it."""
    await request.app[SIGNALLING].delete(asked(request))
    return respond(answers.Done("ended"))


@routes(
    "POST",
    SESSION + "/recording",
    May.OWN,
    answer=Content(answers.RecordingNow),
    status=201,
    errors=(*RECORDED, RecordingRefused, *GRANTED, AvatarUnusable, Unavailable),
)
async def record(request: web.Request) -> web.Response:
    """Record what the session's viewers see."""
    session = own(request)
    local = here(request)
    await local.manager.stands(session)
    owner = local.quota.owner(session.id)
    return respond(await local.recordings.start(session, owner), 201)


@routes(
    "GET",
    SESSION + "/recording",
    May.OWN,
    answer=Content(answers.RecordingNow),
    errors=RECORDED,
)
async def recorded(request: web.Request) -> web.Response:
    """The recording in progress."""
    return respond(here(request).recordings.describe(own(request)))


@routes(
    "DELETE",
    SESSION + "/recording",
    May.OWN,
    answer=Content(answers.RecordingEnded),
    errors=RECORDED,
)
async def unrecord(request: web.Request) -> web.Response:
    """End the recording; the answer names the finished file."""
    return respond(await here(request).recordings.stop(own(request)))


def order(request: web.Request, wanted: NewSession) -> Order:
    """A session for whoever sent the request."""
    address = request.app[ACCESS].address(request)
    return Order(_options(wanted), request[CALLER], address, trace.get(), wanted.resume)


def asked(request: web.Request) -> Asked:
    """The session of the path, and who asks for it."""
    bearer = session_tokens.bearer(request.headers)
    return Asked(request.match_info["session"], bearer, request[CALLER], trace.get())


def own(request: web.Request) -> Session:
    """The session of the path, for whoever holds its token or the key that began it."""
    return here(request).own(asked(request))


def here(request: web.Request) -> LocalSignalling:
    """The sessions of this process. Raises ``NotInCluster`` where they are on workers."""
    if LOCAL not in request.app:
        raise NotInCluster(
            "A front of a cluster carries no sound files, speech sockets and recordings. Send text,"
            " speak by WHIP, or use a server by itself."
        )
    return request.app[LOCAL]


def _options(asked: NewSession) -> Options:
    listen = asked.listen or asked.answers
    return Options(
        asked.avatar, asked.prompt, asked.seed, asked.measure, asked.answers, listen,
        asked.size, asked.background, gesture=asked.gesture,
    )  # fmt: skip
