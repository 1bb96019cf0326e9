"""Session tokens: made here, compared here, never logged."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from server.errors import Unauthorized

SUBPROTOCOL: Final = "bearer."


def new_id(worker: str = "") -> str:
    """A session id that cannot be guessed; one of a cluster names its worker."""
    return f"s-{worker}-{secrets.token_hex(12)}" if worker else f"s-{secrets.token_hex(12)}"


def new_token() -> str:
    """A bearer token."""
    return "c_" + secrets.token_urlsafe(24)


def bearer(headers: Mapping[str, str]) -> str:
    """The credential of a request: of ``Authorization``, or, since pages cannot set that on a
    WebSocket, the offered subprotocol ``bearer.TOKEN``. Empty without one."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    offered = headers.get("Sec-WebSocket-Protocol", "").split(",")
    found = (each.strip().removeprefix(SUBPROTOCOL) for each in offered if SUBPROTOCOL in each)
    return next(found, "")


def require(given: str, token: str) -> None:
    """Raises ``Unauthorized`` unless this token was given."""
    if not given:
        raise Unauthorized("Send the session's token: 'Authorization: Bearer TOKEN'.")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthorized("This token is not the session's. Use the one its creation returned.")
