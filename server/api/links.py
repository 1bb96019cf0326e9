"""Where a client finds what an answer names: our paths as they are seen from outside.

Behind a folder of a reverse proxy our paths are not the client's. ``public_url`` says what is;
without it, a request that says that it came through a folder (``X-Forwarded-Prefix``) is answered
with references relative to its own URL, which are right in any folder, so that nobody's word for
the folder is taken.
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
