"""ICE: servers offered to clients with their credentials, and trickled candidates. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from aiortc import RTCIceCandidate, RTCIceServer
from aiortc.sdp import candidate_from_sdp

from server.errors import BadRequest
from server.rtc.sdp_transport import MAX_CANDIDATES
from server.settings import Settings

CREDENTIAL_LIFE_S = 3600


def servers(settings: Settings, user: str, now_s: float) -> list[RTCIceServer]:
    """The configured servers; TURN credentials are made for ``user`` when there is a secret."""
    name, password = settings.turn_user, settings.turn_password
    if settings.turn_secret:
        name, password = turn_credentials(settings.turn_secret, user, now_s)
    return [
        RTCIceServer(url, name, password) if url.startswith("turn") else RTCIceServer(url)
        for url in settings.ice_servers
    ]


def turn_credentials(secret: str, user: str, now_s: float) -> tuple[str, str]:
    """Name and password that coturn accepts for an hour (draft-uberti-behave-turn-rest)."""
    name = f"{int(now_s) + CREDENTIAL_LIFE_S}:{user}"
    digest = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(digest).decode()


def links(ice_servers: Sequence[RTCIceServer]) -> list[str]:
    """``Link`` header values (RFC 9725, section 4.6)."""
    return [_link(server) for server in ice_servers]


def _link(server: RTCIceServer) -> str:
    link = f'<{server.urls}>; rel="ice-server"'
    if server.username:
        link += f'; username="{server.username}"; credential="{server.credential}"'
        link += '; credential-type="password"'
    return link


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a trickle-ice-sdpfrag says (RFC 8840)."""

    ufrags: tuple[str, ...]
    candidates: list[RTCIceCandidate]
    ended: tuple[tuple[str | None, int], ...]
    """Mid and number of each section that has no more candidates; -1 is all of them."""

    @property
    def ufrag(self) -> str | None:
        """The first one that is named."""
        return next(iter(self.ufrags), None)

    @property
    def complete(self) -> bool:
        """Whether some section has no more candidates."""
        return bool(self.ended)


def parse_fragment(text: str) -> Fragment:
    """Raises ``BadRequest`` when the fragment cannot be read."""
    mid, section = None, 0
    ufrags, candidates, ended = list[str](), list[RTCIceCandidate](), list[tuple[str | None, int]]()
    for line in text.replace("\r\n", "\n").split("\n"):
        name, _, value = line.strip().partition(":")
        if line.startswith("m="):
            mid, section = None, section + 1
        elif name == "a=mid":
            mid = value
        elif name == "a=ice-ufrag":
            ufrags.append(value)
        elif name == "a=end-of-candidates":
            ended.append((mid, section - 1))
        elif name == "a=candidate":
            candidates.append(_candidate(value, mid, max(0, section - 1)))
        elif line.strip() and not line.startswith("a="):
            raise BadRequest(f"not a line of a trickle-ice-sdpfrag: {line[:60]!r}")
    if len(candidates) > MAX_CANDIDATES:
        raise BadRequest(f"at most {MAX_CANDIDATES} candidates a fragment, not {len(candidates)}")
    if not ufrags and not candidates and not ended:
        raise BadRequest("the fragment has no candidate, no ice-ufrag and no end-of-candidates")
    return Fragment(tuple(ufrags), candidates, tuple(ended))


def _candidate(value: str, mid: str | None, section: int) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(value.strip())
    except (ValueError, IndexError, AssertionError, KeyError) as failure:
        raise BadRequest(f"not a candidate: {value[:80]!r}") from failure
    candidate.sdpMid, candidate.sdpMLineIndex = mid, section
    return candidate
