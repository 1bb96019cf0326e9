"""Peers over HTTP: calls, WHIP and WHEP, and candidates (docs/protocol.md, sections 3 to 5)."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web
from aiortc import RTCIceServer
from multidict import CIMultiDict

from server.api import answers
from server.api.forms import read_text
from server.api.links import link
from server.api.middleware import MANAGER, SETTINGS, respond
from server.api.requests import NewSession
from server.api.routes import Content, RouteTable
from server.api.sessions import BEGUN, GRANTED, SESSION, created, options_of, own
from server.api.validation import parse_query
from server.auth.access import May
from server.errors import (
    BadSdp,
    IceRestart,
    PortsTaken,
    SourceTaken,
    UnknownPeer,
    UnknownSession,
    UnusableOffer,
)
from server.rtc import ice, sdp_offer
from server.rtc.participant import Participant
from server.rtc.sdp_offer import PeerRole as Part
from server.sessions import signaling
from server.sessions.session import Session

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_BODY = 1024 * 1024


routes = RouteTable()
SDP_BODY: Final = Content(str, SDP)
FRAGMENT_BODY: Final = Content(str, FRAGMENT)
OFFERED: Final = (BadSdp, UnusableOffer, PortsTaken)
JOINED: Final = (UnknownSession, *OFFERED, *GRANTED, SourceTaken, IceRestart)
LEFT: Final = (UnknownSession, UnknownPeer)
TRICKLED: Final = (UnknownSession, UnknownPeer, *GRANTED, IceRestart)


@routes(
    "POST",
    "/v1/calls",
    May.PERFORM,
    query=NewSession,
    body=SDP_BODY,
    answer=SDP_BODY,
    status=201,
    errors=(*OFFERED, *BEGUN),
)
async def call(request: web.Request) -> web.Response:
    """Call an avatar: a session and its caller in one request."""
    body = await read_text(request, SDP, request.app[SETTINGS].sdp_bytes, "Accept-Post")
    offer = sdp_offer.parse(body, Part.CALLER)
    session = await created(request, options_of(parse_query(NewSession, request.query)))
    try:
        sdp, _ = await signaling.answer(session, offer, _servers(request, session.id))
    except BaseException:
        await session.end("its offer could not be answered")
        raise
    response = _answered(request, session, sdp, f"/v1/sessions/{session.id}")
    response.headers["Session-Token"] = session.token
    return response


@routes(
    "POST",
    SESSION + "/call",
    May.OWN,
    body=SDP_BODY,
    answer=SDP_BODY,
    status=201,
    errors=JOINED,
)
@routes(
    "POST",
    SESSION + "/whip",
    May.OWN,
    body=SDP_BODY,
    answer=SDP_BODY,
    status=201,
    errors=JOINED,
)
@routes(
    "POST",
    SESSION + "/whep",
    May.OWN,
    body=SDP_BODY,
    answer=SDP_BODY,
    status=201,
    errors=JOINED,
)
async def join(request: web.Request) -> web.Response:
    """A peer joins: a caller (or comes back), a feeder by WHIP, a viewer by WHEP."""
    session = own(request)
    role = Part(request.path.rsplit("/", 1)[-1])
    body = await read_text(request, SDP, request.app[SETTINGS].sdp_bytes, "Accept-Post")
    offer = sdp_offer.parse(body, role)
    await request.app[MANAGER].stands(session)
    sdp, participant = await signaling.answer(session, offer, _servers(request, session.id))
    path = f"/v1/sessions/{session.id}"
    location = path if role is Part.CALLER else f"{path}/{role.value}/{participant.name}"
    return _answered(request, session, sdp, location)


@routes("OPTIONS", "/v1/calls", May.PERFORM, status=204)
@routes("OPTIONS", SESSION + "/call", May.OWN, status=204)
@routes("OPTIONS", SESSION + "/whip", May.OWN, status=204)
@routes("OPTIONS", SESSION + "/whep", May.OWN, status=204)
async def options(request: web.Request) -> web.Response:
    """What an offer is sent as, and which ICE servers there are."""
    headers = CIMultiDict({"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
    for each in ice.links(_servers(request, "options")):
        headers.add("Link", each)
    return web.Response(status=204, headers=headers)


@routes("OPTIONS", SESSION + "/whip/{peer}", May.OWN, status=204)
@routes("OPTIONS", SESSION + "/whep/{peer}", May.OWN, status=204)
async def peer_options(request: web.Request) -> web.Response:
    """What a peer's own URL takes (RFC 9725, section 4.3)."""
    headers = {"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"}
    return web.Response(status=204, headers=headers)


@routes("PATCH", SESSION, May.OWN, body=FRAGMENT_BODY, status=204, errors=TRICKLED)
async def trickle_source(request: web.Request) -> web.Response:
    """The caller's ICE candidates, as they are found."""
    session = own(request)
    await request.app[MANAGER].stands(session)
    source = session.participants.source
    if source is None:
        raise UnknownPeer("This session has no caller. Post an offer to its call door.")
    return await _trickle(request, source)


@routes("PATCH", SESSION + "/whip/{peer}", May.OWN, body=FRAGMENT_BODY, status=204, errors=TRICKLED)
@routes("PATCH", SESSION + "/whep/{peer}", May.OWN, body=FRAGMENT_BODY, status=204, errors=TRICKLED)
async def trickle(request: web.Request) -> web.Response:
    """A peer's ICE candidates, as they are found."""
    await request.app[MANAGER].stands(own(request))
    return await _trickle(request, _member(request))


@routes("DELETE", SESSION + "/whip/{peer}", May.OWN, answer=Content(answers.Done), errors=LEFT)
@routes("DELETE", SESSION + "/whep/{peer}", May.OWN, answer=Content(answers.Done), errors=LEFT)
async def leave(request: web.Request) -> web.Response:
    """The peer leaves."""
    session, participant = own(request), _member(request)
    await session.participants.leave(participant)
    return respond(answers.Done("left"))


async def _trickle(request: web.Request, participant: Participant) -> web.Response:
    body = await read_text(request, FRAGMENT, request.app[SETTINGS].sdp_bytes, "Accept-Patch")
    await signaling.trickle(participant, ice.parse_fragment(body))
    return web.Response(status=204)


def _member(request: web.Request) -> Participant:
    session = own(request)
    participant = session.participants.get(request.match_info["peer"])
    if participant is None or participant.role.value != request.path.split("/")[-2]:
        raise UnknownPeer("There is no such peer, or it has left.")
    return participant


def _servers(request: web.Request, user: str) -> list[RTCIceServer]:
    return ice.servers(request.app[SETTINGS], user, time.time())


def _answered(request: web.Request, session: Session, sdp: str, location: str) -> web.Response:
    headers = CIMultiDict({"Location": link(request, location)})
    for each in ice.links(_servers(request, session.id)):
        headers.add("Link", each)
    return web.Response(text=sdp, status=201, content_type=SDP, headers=headers)
