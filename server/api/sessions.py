"""Sessions over HTTP: made, described, recorded, ended (docs/protocol.md, sections 2, 3 and 10)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from server.api import answers
from server.api.forms import read_json
from server.api.links import link
from server.api.middleware import ACCESS, MANAGER, QUOTA, RECORDINGS, respond
from server.api.requests import NewSession
from server.api.routes import Content, RouteTable
from server.auth import session_tokens
from server.auth.access import CALLER, Caller, May
from server.errors import (
    AvatarUnusable,
    CannotMeasure,
    ConsentRequired,
    Draining,
    Forbidden,
    ModelUnusable,
    NoAnswers,
    NoSlot,
    NotReady,
    RecordingRefused,
    RecordingState,
    RegistryDown,
    TooManySessions,
    Unavailable,
    UnknownAvatar,
    UnknownSession,
)
from server.rtc.sdp_offer import PeerRole as Part
from server.sessions import description
from server.sessions.options import Options
from server.sessions.session import Session

routes = RouteTable()
SESSION: Final = "/v1/sessions/{session}"
GRANTED: Final = (ConsentRequired, RegistryDown)
BEGUN: Final = (
    UnknownAvatar,
    *GRANTED,
    CannotMeasure,
    NoAnswers,
    TooManySessions,
    NoSlot,
    NotReady,
    Draining,
    AvatarUnusable,
    ModelUnusable,
)
RECORDED: Final = (UnknownSession, RecordingState)


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
    session = await created(request, options_of(await read_json(request, NewSession)))
    path = f"/v1/sessions/{session.id}"
    doors = {role.value: link(request, f"{path}/{role.value}") for role in Part}
    doors["speech"] = link(request, f"{path}/speech")
    answer = answers.SessionMade(session.id, session.token, session.options.avatar, **doors)
    return respond(answer, 201, {"Location": link(request, path)})


@routes(
    "GET",
    SESSION,
    May.OWN,
    answer=Content(answers.SessionState),
    errors=(UnknownSession,),
)
async def describe(request: web.Request) -> web.Response:
    """State, media time, latency by stage."""
    session = own(request)
    return respond({**description.describe(session), "quality": session.peek()})


@routes("DELETE", SESSION, May.OWN, answer=Content(answers.Done), errors=(UnknownSession,))
async def end(request: web.Request) -> web.Response:
    """End the session and every peer of it."""
    await own(request).end("it was deleted")
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
    await request.app[MANAGER].stands(session)
    owner = request.app[QUOTA].owner(session.id)
    return respond(await request.app[RECORDINGS].start(session, owner), 201)


@routes(
    "GET",
    SESSION + "/recording",
    May.OWN,
    answer=Content(answers.RecordingNow),
    errors=RECORDED,
)
async def recorded(request: web.Request) -> web.Response:
    """The recording in progress."""
    return respond(request.app[RECORDINGS].describe(own(request)))


@routes(
    "DELETE",
    SESSION + "/recording",
    May.OWN,
    answer=Content(answers.RecordingEnded),
    errors=RECORDED,
)
async def unrecord(request: web.Request) -> web.Response:
    """End the recording; the answer names the finished file."""
    return respond(await request.app[RECORDINGS].stop(own(request)))


async def created(request: web.Request, options: Options) -> Session:
    """A session that counts as its caller's until it ends."""
    caller, quota = request[CALLER], request.app[QUOTA]
    if caller.avatar and caller.avatar != options.avatar:
        raise Forbidden(f"This token is for the avatar {caller.avatar!r}.")
    manager, address = request.app[MANAGER], request.app[ACCESS].address(request)
    claim = quota.take(caller, address, manager.most_waiting)
    try:
        session = await manager.create(options)
    except BaseException:
        claim.give_back()
        raise
    quota.owns(session.id, caller)
    joined, ended = session.on_joined, session.on_ended

    def came() -> None:
        claim.joined()
        joined()

    def over(session: Session) -> None:
        claim.give_back()
        quota.forget(session.id)
        request.app[RECORDINGS].ended(session)
        ended(session)

    session.on_joined, session.on_ended = came, over
    return session


def own(request: web.Request) -> Session:
    """The session of the path, for whoever holds its token or the key that began it."""
    session = request.app[MANAGER].session(request.match_info["session"])
    caller: Caller = request[CALLER]
    if not (caller.key and request.app[QUOTA].may_open(session.id, caller)):
        session_tokens.require(session_tokens.bearer(request.headers), session.token)
    return session


def options_of(asked: NewSession) -> Options:
    listen = asked.listen or asked.answers
    return Options(asked.avatar, asked.prompt, asked.seed, asked.measure, asked.answers, listen)
