"""URLs in answers: our paths as the client has to request them.

Behind a proxy that serves a folder, our paths differ from the client's. ``public_url`` sets the
public address. Without it, a request with ``X-Forwarded-Prefix`` gets references relative to its
own URL. They are right in any folder, so the header's value need not be trusted.
"""

from __future__ import annotations

import posixpath

from aiohttp import web

from server.api.middleware import SETTINGS

PREFIX = "X-Forwarded-Prefix"


def link(request: web.Request, path: str) -> str:
    """``path``, for whoever sent the request (RFC 9110, section 10.2.2)."""
    if public := request.app[SETTINGS].public_url:
        return public.rstrip("/") + path
    return relative(path, request.path) if PREFIX in request.headers else path


def relative(path: str, seen_from: str) -> str:
    """``path`` as a reference from the URL ``seen_from`` (RFC 3986, section 5.2)."""
    folder, name = posixpath.split(path)
    return posixpath.join(posixpath.relpath(folder, posixpath.dirname(seen_from)), name)
