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
from server.api.middleware import SETTINGS, SIGNALLING, respond
from server.api.requests import NewSession
from server.api.routes import Content, RouteTable
from server.api.sessions import BEGUN, GRANTED, SESSION, asked, order
from server.api.validation import parse_query
from server.auth.access import May
from server.cluster.signalling import Answered
from server.errors import (
    BadSdp,
    IceRestart,
    PortsTaken,
    SourceTaken,
    UnknownPeer,
    UnknownSession,
    UnusableOffer,
)
from server.rtc import ice
from server.rtc.sdp_offer import PeerRole as Part

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_BODY = 1024 * 1024


routes = RouteTable()
PEERS: Final = tuple(f"{SESSION}/{role.value}" for role in Part)
ONE_PEER: Final = tuple(f"{SESSION}/{kind}/{{peer}}" for kind in ("whip", "whep"))
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
    wanted = order(request, parse_query(NewSession, request.query))
    answered = await request.app[SIGNALLING].call(wanted, body)
    response = _answered(request, answered, f"/v1/sessions/{answered.session}")
    response.headers["Session-Token"] = answered.token
    return response


@routes(
    "POST",
    PEERS,
    May.OWN,
    body=SDP_BODY,
    answer=SDP_BODY,
    status=201,
    errors=JOINED,
)
async def join(request: web.Request) -> web.Response:
    """A peer joins: a caller (or comes back), a feeder by WHIP, a viewer by WHEP."""
    who, signalling = asked(request), request.app[SIGNALLING]
    await signalling.check_session(who)
    role = Part(request.path.rsplit("/", 1)[-1])
    body = await read_text(request, SDP, request.app[SETTINGS].sdp_bytes, "Accept-Post")
    answered = await signalling.offer(who, role, body)
    path = f"/v1/sessions/{answered.session}"
    location = path if role is Part.CALLER else f"{path}/{role.value}/{answered.peer}"
    return _answered(request, answered, location)


@routes("OPTIONS", "/v1/calls", May.PERFORM, status=204)
@routes("OPTIONS", PEERS, May.OWN, status=204)
async def options(request: web.Request) -> web.Response:
    """What an offer is sent as, and which ICE servers there are."""
    headers = CIMultiDict({"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
    for each in ice.links(_servers(request, "options")):
        headers.add("Link", each)
    return web.Response(status=204, headers=headers)


@routes("OPTIONS", ONE_PEER, May.OWN, status=204)
async def peer_options(request: web.Request) -> web.Response:
    """What a peer's own URL takes (RFC 9725, section 4.3)."""
    headers = {"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"}
    return web.Response(status=204, headers=headers)


@routes("PATCH", SESSION, May.OWN, body=FRAGMENT_BODY, status=204, errors=TRICKLED)
async def trickle_source(request: web.Request) -> web.Response:
    """The caller's ICE candidates, as they are found."""
    return await _trickle(request, None, "")


@routes("PATCH", ONE_PEER, May.OWN, body=FRAGMENT_BODY, status=204, errors=TRICKLED)
async def trickle(request: web.Request) -> web.Response:
    """A peer's ICE candidates, as they are found."""
    return await _trickle(request, _role(request), request.match_info["peer"])


@routes("DELETE", ONE_PEER, May.OWN, answer=Content(answers.Done), errors=LEFT)
async def leave(request: web.Request) -> web.Response:
    """The peer leaves."""
    who, peer = asked(request), request.match_info["peer"]
    await request.app[SIGNALLING].leave(who, _role(request), peer)
    return respond(answers.Done("left"))


async def _trickle(request: web.Request, role: Part | None, peer: str) -> web.Response:
    who, signalling = asked(request), request.app[SIGNALLING]
    await signalling.check_session(who)
    body = await read_text(request, FRAGMENT, request.app[SETTINGS].sdp_bytes, "Accept-Patch")
    await signalling.trickle(who, role, peer, body)
    return web.Response(status=204)


def _role(request: web.Request) -> Part:
    return Part(request.path.split("/")[-2])


def _servers(request: web.Request, user: str) -> list[RTCIceServer]:
    return ice.servers(request.app[SETTINGS], user, time.time())


def _answered(request: web.Request, answered: Answered, location: str) -> web.Response:
    headers = CIMultiDict({"Location": link(request, location)})
    for each in ice.links(_servers(request, answered.session)):
        headers.add("Link", each)
    if request.app[SETTINGS].cluster:  # which may lose the worker, and says so there
        path = link(request, f"/v1/sessions/{answered.session}/events")
        headers.add("Link", f'<{path}>; rel="events"')
    return web.Response(text=answered.sdp, status=201, content_type=SDP, headers=headers)
