"""Tokens for browsers: short-lived, signed, bound to this server and to one origin.

An application's back end gets one with its key and passes it to its page; the page calls with it.
A token grants no more than its key, and nothing once the key is revoked. HS256 with a secret that
the servers of one installation share (RFC 7519, RFC 8725).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt

from server.errors import BadRequest, Unauthorized

ISSUER: Final = "continuum"
ALGORITHM: Final = "HS256"
MIN_SECRET: Final = 32
MIN_TTL_S: Final = 10
LEEWAY_S: Final = 5
ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]{1,253}\Z")
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat", "jti", "origin"]


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. ``avatar`` is empty when it may call any."""

    id: str
    key: str
    origin: str
    avatar: str
    expires_at: int


class Tokens:
    """Makes and reads the tokens of one installation."""

    def __init__(
        self, secret: str, audience: str, max_ttl_s: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret or secrets.token_hex(32)  # then they end with this process
        self._audience, self._max_ttl_s, self._clock = audience, max_ttl_s, clock

    def make(self, key: str, origin: str, avatar: str, ttl_s: int) -> tuple[str, Token]:
        """A token's text and what it says. Raises ``BadRequest``."""
        if not ORIGIN.match(origin):
            raise BadRequest(
                f"origin is a page's scheme and host, as https://shop.example, not {origin[:80]!r}"
            )
        if not MIN_TTL_S <= ttl_s <= self._max_ttl_s:
            raise BadRequest(
                f"ttl_s must be between {MIN_TTL_S} and {self._max_ttl_s}, not {ttl_s}"
            )
        now = int(self._clock())
        token = Token(secrets.token_hex(8), key, origin, avatar, now + ttl_s)
        claims = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": key,
            "jti": token.id,
            "iat": now,
            "exp": token.expires_at,
            "origin": origin,
            "avatar": avatar,
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM), token

    def read(self, text: str) -> Token:
        """What a token says. Raises ``Unauthorized`` unless it is ours and still runs."""
        try:
            claims = jwt.decode(
                text,
                self._secret,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError) as failure:
            raise Unauthorized("This token is not from here. Ask your application for one.") from (
                failure
            )
        return self._token(claims)

    def _token(self, claims: dict[str, Any]) -> Token:
        """Times are checked here, against the clock that was given."""
        now, ends, since = self._clock(), claims["exp"], claims["iat"]
        if not isinstance(ends, int) or not isinstance(since, int) or now >= ends:
            raise Unauthorized("This token has expired. Ask your application for a new one.")
        if since > now + LEEWAY_S:
            raise Unauthorized("This token is from the future. Set this server's clock.")
        said = {name: claims.get(name, "") for name in ("jti", "sub", "origin", "avatar")}
        if not all(isinstance(text, str) for text in said.values()):
            raise Unauthorized("This token is not from here. Ask your application for one.")
        return Token(said["jti"], said["sub"], said["origin"], said["avatar"], ends)
