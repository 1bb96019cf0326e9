"""Calls, sessions, WHIP and WHEP over HTTP (docs/protocol.md, sections 2 to 5)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from aiohttp import web
from aiortc import RTCIceServer
from multidict import CIMultiDict

from server.api.links import link
from server.api.middleware import ACCESS, MANAGER, QUOTA, RECORDINGS, SETTINGS, respond, text
from server.auth import session_tokens
from server.auth.access import CALLER, Caller
from server.errors import BadRequest, Forbidden, UnknownPeer
from server.rtc import data_channel, ice, sdp_offer
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole as Part
from server.sessions import description, signaling
from server.sessions.options import Options
from server.sessions.session import Session

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
JSON = "application/json"
MAX_BODY = 1024 * 1024
MAX_SEED = 2**31 - 1
TOKEN_TTL_S = 300


def routes() -> list[web.RouteDef]:
    """Every route of the doors."""
    session = "/v1/sessions/{session}"
    return [
        web.post("/v1/calls", call),
        web.route("OPTIONS", "/v1/calls", options),
        web.post("/v1/sessions", create),
        web.get(session, describe),
        web.delete(session, end),
        web.patch(session, trickle_source),
        web.post(session + "/recording", record),
        web.get(session + "/recording", recorded),
        web.delete(session + "/recording", unrecord),
        *(web.post(f"{session}/{role.value}", join) for role in Part),
        *(web.route("OPTIONS", f"{session}/{role.value}", options) for role in Part),
        web.patch(session + "/{role:whip|whep}/{peer}", trickle),
        web.delete(session + "/{role:whip|whep}/{peer}", leave),
        web.route("OPTIONS", session + "/{role:whip|whep}/{peer}", peer_options),
    ]


async def call(request: web.Request) -> web.Response:
    """``POST /v1/calls``: a session and its caller in one request."""
    body = await text(request, SDP, request.app[SETTINGS].sdp_bytes, "Accept-Post")
    offer = sdp_offer.parse(body, Part.CALLER)
    session = await _created(request, _options(_query(request)))
    try:
        sdp, _ = await signaling.answer(session, offer, _servers(request, session.id))
    except BaseException:
        await session.end("its offer could not be answered")
        raise
    response = _answered(request, session, sdp, f"/v1/sessions/{session.id}")
    response.headers["Session-Token"] = session.token
    return response


async def create(request: web.Request) -> web.Response:
    """``POST /v1/sessions``: a session that peers join later."""
    body = await text(request, JSON, request.app[SETTINGS].json_bytes, "Accept-Post")
    session = await _created(request, _options(_object(body)))
    path = f"/v1/sessions/{session.id}"
    doors = {role.value: link(request, f"{path}/{role.value}") for role in Part}
    answer = {
        "id": session.id,
        "token": session.token,
        "avatar": session.options.avatar,
        **doors,
        "events": "events",
    }
    return respond(answer, 201, {"Location": link(request, path)})


async def hand_out(request: web.Request) -> web.Response:
    """``POST /v1/tokens``: an application gets a token for one of its users' browsers."""
    settings, caller = request.app[SETTINGS], request[CALLER]
    fields = _object(await text(request, JSON, settings.json_bytes, "Accept-Post"))
    origin, avatar = fields.get("origin"), fields.get("avatar", "")
    ttl_s = fields.get("ttl_s", min(TOKEN_TTL_S, settings.token_ttl_s))
    if not isinstance(origin, str) or not isinstance(avatar, str):
        raise BadRequest("origin and avatar are strings; origin is the page's scheme and host")
    if not isinstance(ttl_s, int) or isinstance(ttl_s, bool):
        raise BadRequest(f"ttl_s is a whole number of seconds, not {ttl_s!r:.40}")
    if not caller.key:
        raise Forbidden("This server has no keys, and needs no tokens.")
    if avatar:
        request.app[MANAGER].avatars.card(avatar)
    token, said = request.app[ACCESS].tokens.make(caller.key, origin, avatar, ttl_s)
    answer = {"token": token, "expires_at": said.expires_at, "origin": origin, "avatar": avatar}
    return respond(answer, 201, {"Cache-Control": "no-store"})


async def join(request: web.Request) -> web.Response:
    """``POST .../call|whip|whep``: a peer joins."""
    session = _session(request)
    role = Part(request.path.rsplit("/", 1)[-1])
    body = await text(request, SDP, request.app[SETTINGS].sdp_bytes, "Accept-Post")
    offer = sdp_offer.parse(body, role)
    await request.app[MANAGER].stands(session)
    sdp, participant = await signaling.answer(session, offer, _servers(request, session.id))
    path = f"/v1/sessions/{session.id}"
    location = path if role is Part.CALLER else f"{path}/{role.value}/{participant.name}"
    return _answered(request, session, sdp, location)


async def options(request: web.Request) -> web.Response:
    """What a door takes, and which ICE servers it offers."""
    headers = CIMultiDict({"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
    for each in ice.links(_servers(request, "options")):
        headers.add("Link", each)
    return web.Response(status=204, headers=headers)


async def peer_options(request: web.Request) -> web.Response:
    """What a peer's own URL takes (RFC 9725, section 4.3)."""
    headers = {"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"}
    return web.Response(status=204, headers=headers)


async def describe(request: web.Request) -> web.Response:
    """``GET /v1/sessions/{id}``."""
    session = _session(request)
    return respond({**description.describe(session), "quality": session.peek()})


async def end(request: web.Request) -> web.Response:
    """``DELETE /v1/sessions/{id}``."""
    await _session(request).end("it was deleted")
    return respond({"status": "ended"})


async def record(request: web.Request) -> web.Response:
    """``POST /v1/sessions/{id}/recording``."""
    session = _session(request)
    await request.app[MANAGER].stands(session)
    owner = request.app[QUOTA].owner(session.id)
    return respond(await request.app[RECORDINGS].start(session, owner), 201)


async def recorded(request: web.Request) -> web.Response:
    """``GET /v1/sessions/{id}/recording``."""
    return respond(request.app[RECORDINGS].describe(_session(request)))


async def unrecord(request: web.Request) -> web.Response:
    """``DELETE /v1/sessions/{id}/recording``: ends it; the answer names the finished file."""
    return respond(await request.app[RECORDINGS].stop(_session(request)))


async def trickle_source(request: web.Request) -> web.Response:
    """``PATCH /v1/sessions/{id}``: the caller's candidates."""
    session = _session(request)
    await request.app[MANAGER].stands(session)
    source = session.participants.source
    if source is None:
        raise UnknownPeer("This session has no caller. Post an offer to its call door.")
    return await _trickle(request, source)


async def trickle(request: web.Request) -> web.Response:
    """``PATCH .../whip|whep/{peer}``."""
    await request.app[MANAGER].stands(_session(request))
    return await _trickle(request, _member(request))


async def leave(request: web.Request) -> web.Response:
    """``DELETE .../whip|whep/{peer}``."""
    session, participant = _session(request), _member(request)
    await session.participants.leave(participant)
    return respond({"status": "left"})


async def _trickle(request: web.Request, participant: Participant) -> web.Response:
    body = await text(request, FRAGMENT, request.app[SETTINGS].sdp_bytes, "Accept-Patch")
    await signaling.trickle(participant, ice.parse_fragment(body))
    return web.Response(status=204)


async def _created(request: web.Request, options: Options) -> Session:
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


def _session(request: web.Request) -> Session:
    """The session of the path, for whoever holds its token or the key that began it."""
    session = request.app[MANAGER].session(request.match_info["session"])
    caller: Caller = request[CALLER]
    if not (caller.key and request.app[QUOTA].may_open(session.id, caller)):
        session_tokens.require(request.headers.get("Authorization"), session.token)
    return session


def _member(request: web.Request) -> Participant:
    session = _session(request)
    participant = session.participants.get(request.match_info["peer"])
    if participant is None or participant.role.value != request.match_info["role"]:
        raise UnknownPeer("There is no such peer, or it has left.")
    return participant


def _servers(request: web.Request, user: str) -> list[RTCIceServer]:
    return ice.servers(request.app[SETTINGS], user, time.time())


def _answered(request: web.Request, session: Session, sdp: str, location: str) -> web.Response:
    headers = CIMultiDict({"Location": link(request, location)})
    for each in ice.links(_servers(request, session.id)):
        headers.add("Link", each)
    return web.Response(text=sdp, status=201, content_type=SDP, headers=headers)


def _query(request: web.Request) -> dict[str, object]:
    fields: dict[str, object] = dict(request.query)
    if "seed" in fields:
        try:
            fields["seed"] = int(str(fields["seed"]))
        except ValueError as failure:
            raise BadRequest(
                f"seed must be a whole number, not {fields['seed']!r:.40}"
            ) from failure
    if "measure" in fields:
        fields["measure"] = _switch(str(fields["measure"]))
    return fields


def _switch(value: str) -> bool:
    if value not in ("0", "1", "true", "false"):
        raise BadRequest(f"measure must be 0 or 1, not {value[:40]!r}")
    return value in ("1", "true")


def _object(body: str) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as failure:
        raise BadRequest(f"The body is not JSON: {failure}") from failure
    if not isinstance(fields, dict):
        raise BadRequest('The body must be a JSON object such as {"avatar": "mira"}.')
    return fields


def _options(fields: Mapping[str, object]) -> Options:
    avatar, prompt = fields.get("avatar"), fields.get("prompt", "")
    seed, measure = fields.get("seed", 0), fields.get("measure", False)
    if not isinstance(avatar, str) or not avatar:
        raise BadRequest("Name an avatar; GET /v1/avatars lists them.")
    long = isinstance(prompt, str) and len(prompt) > data_channel.MAX_PROMPT
    if not isinstance(prompt, str) or long or not data_channel.is_text(prompt):
        raise BadRequest(f"prompt must be a string of at most {data_channel.MAX_PROMPT} characters")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise BadRequest(f"seed must be a whole number from 0 to {MAX_SEED}, not {seed!r:.40}")
    if not isinstance(measure, bool):
        raise BadRequest(f"measure must be true or false, not {measure!r:.40}")
    return Options(avatar, prompt, seed, measure)
