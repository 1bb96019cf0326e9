"""HTTP plumbing: typed app keys, JSON, problem+json, CORS."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from server.api.routes import Handler, Routes
from server.api.security_headers import headers as security
from server.auth.access import CALLER, Access, host_name, is_loopback
from server.background.pool import Pool
from server.cluster.backend import Backend
from server.cluster.local import LocalSignalling
from server.cluster.signalling import Signalling
from server.errors import BadRequest, ServerError, UnsupportedMediaType
from server.observability.trace import begin
from server.push.pushes import Pushes
from server.recordings.recordings import Recordings
from server.settings import Settings

log = logging.getLogger(__name__)

MANAGER = web.AppKey("backend", Backend)
PUSHES = web.AppKey("pushes", Pushes)
SIGNALLING = web.AppKey("signalling", Signalling)
LOCAL = web.AppKey("local_signalling", LocalSignalling)
SETTINGS = web.AppKey("settings", Settings)
ACCESS = web.AppKey("access", Access)
RECORDINGS = web.AppKey("recordings", Recordings)
UPLOADS = web.AppKey("uploads", Pool)
ROUTES = web.AppKey("routes", Routes)

EXPOSED = "Location, Link, Session-Token, Retry-After"
ALLOWED = "Authorization, Content-Type, If-Match"


def respond(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON response; dataclasses are objects."""
    content = asdict(body) if is_dataclass(body) and not isinstance(body, type) else body
    text = json.dumps(content, ensure_ascii=False)
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes application/problem+json."""
    try:
        return await handler(request)
    except ServerError as error:
        return _problem(error.problem(), error.status, error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _problem(*_from_http(request, error))
    except HttpProcessingError as error:  # a body, such as a form's, that is not what it says
        refusal = BadRequest(f"The body cannot be read: {' '.join(error.message.split())[:200]}")
        return _problem(refusal.problem(), refusal.status, refusal.headers)
    except Exception as failure:
        if isinstance(failure, ConnectionError) and request.transport is None:
            log.debug("%s %s: the client hung up in the middle", request.method, request.path)
            return _problem(BadRequest("The request is not whole.").problem(), 400, {})
        log.exception("%s %s failed", request.method, request.path)
        return _problem(ServerError("The server failed; the log says more.").problem(), 500, {})


@web.middleware
async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets only authorised requests reach a handler."""
    begin(request.headers.get("traceparent", ""))
    resource = request.match_info.route.resource
    may = request.app[ROUTES].asked(request.method, resource.canonical if resource else None)
    request[CALLER] = await request.app[ACCESS].admit(request, may)
    return await handler(request)


@web.middleware
async def unpacked(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses compressed bodies, before they are read: a few bytes may hold any number."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        refusal = UnsupportedMediaType(f"Send the body as it is, not as {coding[:40]}.")
        refusal.headers["Accept-Encoding"] = "identity"
        raise refusal
    return await handler(request)


@web.middleware
async def hardened(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Adds the security headers to every answer."""
    response = await handler(request)
    settings = request.app[SETTINGS]
    is_page = isinstance(response, web.FileResponse) and not request.path.startswith("/v1/")
    tls = bool(settings.tls_cert) and not is_loopback(host_name(request.host))
    response.headers.update(security(request.path, is_page, settings.origins, tls))
    return response


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets pages of the configured origins call."""
    origin = request.headers.get("Origin", "")
    allowed = request.app[SETTINGS].origins
    known = bool(origin) and (origin in allowed or "*" in allowed)
    if known and "Access-Control-Request-Method" in request.headers:
        response: web.StreamResponse = web.Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = ALLOWED
        response.headers["Access-Control-Max-Age"] = "600"
    else:
        response = await handler(request)
    if known:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        response.headers["Vary"] = "Origin"
    return response


def _problem(body: dict[str, object], status: int, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        text=json.dumps(body, ensure_ascii=False),
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


def _from_http(
    request: web.Request, error: web.HTTPException
) -> tuple[dict[str, Any], int, dict[str, str]]:
    names = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
    name = names.get(error.status, "bad-request")
    body = {
        "type": f"/problems/{name}",
        "title": error.reason,
        "status": error.status,
        "detail": f"{request.method} {request.path[:120]}: {error.reason}.",
        "retryable": False,
    }
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return body, error.status, headers
