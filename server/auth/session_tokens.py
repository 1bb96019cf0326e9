"""Session tokens: made here, compared here, never logged."""

from __future__ import annotations

import hmac
import secrets

from server.errors import Unauthorized


def new_id() -> str:
    """A session id that cannot be guessed."""
    return "s-" + secrets.token_hex(12)


def new_token() -> str:
    """A bearer token."""
    return "c_" + secrets.token_urlsafe(24)


def require(header: str | None, token: str) -> None:
    """Raises ``Unauthorized`` unless ``header`` is ``Bearer`` and this token."""
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise Unauthorized("Send the session's token: 'Authorization: Bearer TOKEN'.")
    if not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized("This token is not the session's. Use the one its creation returned.")
