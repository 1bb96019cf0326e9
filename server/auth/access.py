"""Access control: every request passes here before any handler.

With keys, each route requires a role: operators, applications and monitors send an API key, end
users a token that an application got for them. ``server.api.routes`` says which.

Without keys the server listens on loopback and serves local requests. Requests that name another
host, come through a proxy, or are made by a foreign page are refused, because any web page can
make a browser send requests to localhost.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from server.auth import session_tokens
from server.auth.jwt_tokens import Tokens
from server.auth.key_cache import KeyCache
from server.auth.keys import PREFIX, KeyRole
from server.auth.rate_limit import Buckets
from server.errors import Forbidden, LocalOnly, OriginRefused, Unauthorized
from server.settings import Settings

SESSION_PREFIX: Final = "c_"
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


class May(Enum):
    """What a route requires of a caller."""

    ANYBODY = auto()
    SEE = auto()  # avatars
    PERFORM = auto()  # begin sessions
    OWN = auto()  # a session's own token, or the key that began it
    HAND_OUT = auto()  # tokens
    KEEP = auto()  # recordings: of the key's own sessions, unless an operator asks
    WATCH = auto()  # health and metrics
    ADMINISTER = auto()


_ROLES: Final = {
    KeyRole.OPERATOR: frozenset(May),
    KeyRole.APPLICATION: frozenset(May) - {May.WATCH, May.ADMINISTER},
    KeyRole.MONITOR: frozenset({May.ANYBODY, May.WATCH}),
    KeyRole.USER: frozenset({May.ANYBODY, May.SEE, May.PERFORM}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. ``key`` is empty for a local caller."""

    role: KeyRole
    key: str = ""
    name: str = ""
    token: str = ""  # an end user's token
    avatar: str = ""  # the only one that token may call
    sessions: int = 0  # at a time; 0 is what the settings say

    @property
    def actor(self) -> str:
        """What the audit log calls them."""
        return f"key {self.key}" if self.key else self.name or "operator"


LOCAL: Final = Caller(KeyRole.OPERATOR, name="local")
NOBODY: Final = Caller(KeyRole.USER, name="nobody")
CALLER: Final = web.RequestKey("caller", Caller)


class Access:
    """Decides each request. ``keyring`` None is a server without keys: local requests only."""

    def __init__(
        self,
        settings: Settings,
        keyring: KeyCache | None,
        tokens: Tokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keyring, self.tokens = keyring, tokens
        self._clock = clock
        self._origins = settings.origins
        self._proxies = [ipaddress.ip_network(each) for each in settings.proxies]
        self._addresses = Buckets(settings.address_rate, settings.address_burst, "requests")
        self._keys = Buckets(settings.key_rate, settings.key_burst, "requests of this key")
        rate = settings.failures_per_minute / 60
        self._failures = Buckets(rate, settings.failures_per_minute or 1, "wrong keys")

    async def admit(self, request: web.Request, need: May) -> Caller:
        """Who this is. Raises ``Unauthorized``, ``Forbidden`` or ``RateLimited``."""
        if self.keyring is None:
            check_local(request.headers, self._origins)
            return LOCAL
        address = self.address(request)
        self._addresses.take(address, self._clock())
        bearer = session_tokens.bearer(request.headers)
        own = need is May.OWN and bearer.startswith(SESSION_PREFIX)
        if need is May.ANYBODY or own:  # a session's own token is compared where the session is
            return NOBODY
        return await self._known(request, bearer, need, address)

    async def _known(self, request: web.Request, bearer: str, need: May, address: str) -> Caller:
        self._failures.check(address, self._clock())
        try:
            caller = await self._identify(bearer, request)
        except (Unauthorized, OriginRefused):
            self._failures.take(address, self._clock())
            raise
        self._keys.take(caller.key, self._clock())
        if need not in _ROLES[caller.role]:
            raise Forbidden(f"A key or token of role {caller.role} may not do that.")
        return caller

    async def _identify(self, bearer: str, request: web.Request) -> Caller:
        assert self.keyring is not None
        if not bearer:
            raise Unauthorized("Send an API key or a token: 'Authorization: Bearer ...'.")
        if bearer.startswith(PREFIX):
            key = await self.keyring.identify(bearer)
            return Caller(key.role, key.id, key.name, sessions=key.sessions)
        token = self.tokens.read(bearer)
        origin = request.headers.get("Origin", "")
        if origin != token.origin and (origin or request.method not in ("GET", "HEAD")):
            raise OriginRefused(f"This token is for {token.origin}, not for {origin[:80]!r}.")
        issuer = await self.keyring.live(token.key)
        if issuer is None:
            raise Unauthorized("The key behind this token was revoked or has expired.")
        return Caller(KeyRole.USER, issuer.id, issuer.name, token.id, token.avatar, issuer.sessions)

    def address(self, request: web.BaseRequest) -> str:
        """Where a request comes from."""
        return self.address_of(request.remote or "", request.headers)

    def address_of(self, peer: str, headers: Mapping[str, str]) -> str:
        """Who is at the other end: the last address of the chain that is no proxy of ours."""
        chain = [
            hop.strip() for hop in headers.get("X-Forwarded-For", "").split(",") if hop.strip()
        ]
        while chain and self._trusted(peer):
            peer = chain.pop()
        return peer[:64]

    def _trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


def check_local(headers: Mapping[str, str], origins: tuple[str, ...]) -> None:
    """Refuses what does not come from this machine. Raises ``LocalOnly``, ``OriginRefused``."""
    host = headers.get("Host", "")
    if not is_loopback(host_name(host)):
        raise LocalOnly(
            f"Without keys only http://localhost is served, not {host[:80]!r}. Make a key:"
            " continuum key create NAME --role operator; then restart."
        )
    if any(name in headers for name in FORWARDED):
        raise LocalOnly(
            "Without keys nothing is served through a proxy. Make a key:"
            " continuum key create NAME --role operator; then restart."
        )
    origin = headers.get("Origin", "")
    if origin and urlsplit(origin).netloc != host and not {origin, "*"} & set(origins):
        raise OriginRefused(
            f"Pages of {origin[:80]} may not call. Add it to the setting 'origins'."
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address is always this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
