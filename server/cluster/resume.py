"""Resume tokens: a session that lost its worker goes on elsewhere, with all that was asked of it.

Signed (HS256), so that any front of the cluster can grant one that it has not made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Final

import jwt

from server.cluster.room import Seat
from server.errors import ResumeRefused
from server.media.clock import RATE
from server.sessions.options import Options

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "continuum-resume"
LIFE_S: Final = 120


def make(seat: Seat, secret: str) -> str:
    """A token with which the session is called again, from this moment on."""
    claims = {
        "aud": AUDIENCE,
        "sub": seat.id,
        "iat": seat.at,
        "exp": int(time.time()) + LIFE_S,
        "options": {**asdict(seat.options), "since": seat.media_time, "before": seat.id},
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def read(token: str, keys: Iterable[str]) -> Options:
    """What is to go on; its media time has run since. Raises ``ResumeRefused``."""
    for secret in keys:
        claims = _claims(token, secret)
        if claims is not None:
            options = Options(**claims["options"])
            passed = max(0.0, time.time() - claims["iat"])
            return replace(options, since=options.since + int(passed * RATE))
    raise ResumeRefused("This resume token is not from here, or has expired. Call without it.")


def _claims(token: str, secret: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"verify_iat": False},
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    return found
