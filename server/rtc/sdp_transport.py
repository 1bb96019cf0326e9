"""Transport of an offered section: ICE, DTLS and multiplexing (RFC 8829, 8839, 8842). Pure.

A bundled section may leave all of it to the section that carries the transport of its BUNDLE
group.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from server.rtc.sdp import Attributes, Media

MAX_CANDIDATES = 100
HASHES: Final = ("sha-256", "sha-384", "sha-512")
SETUPS: Final = ("actpass", "active", "passive")
_INHERITED: Final = ("ice-ufrag", "ice-pwd", "fingerprint", "setup", "ice-lite")


@dataclass(frozen=True, slots=True)
class Transport:
    """One section's."""

    ufrag: str
    password: str
    fingerprints: tuple[str, ...]
    setup: str
    lite: bool
    mux: bool
    candidates: tuple[str, ...]
    complete: bool

    def fault(self) -> str:
        """What is missing; empty when nothing is."""
        if not self.ufrag or not self.password:
            return "has no ice-ufrag and ice-pwd"
        if not self.fingerprints:
            return f"has no DTLS fingerprint ({', '.join(HASHES)})"
        if self.setup not in SETUPS:
            return f"has the setup {self.setup[:20]!r}, which is none of an offer"
        return ""

    def lines(self) -> Iterator[str]:
        """As attributes of a section."""
        yield f"a=ice-ufrag:{self.ufrag}"
        yield f"a=ice-pwd:{self.password}"
        yield from (f"a=fingerprint:{fingerprint}" for fingerprint in self.fingerprints)
        yield f"a=setup:{self.setup}"
        yield from (f"a=candidate:{candidate}" for candidate in self.candidates)
        if self.complete and self.candidates:
            yield "a=end-of-candidates"


def of(media: Media, session: Attributes) -> Transport:
    """What the section says of itself, or the session for all."""
    own = media.attributes
    found = {name: own.all(name) or session.all(name) for name in _INHERITED}
    prints = (value.split() for value in found["fingerprint"])
    return Transport(
        ufrag=next(iter(found["ice-ufrag"]), ""),
        password=next(iter(found["ice-pwd"]), ""),
        fingerprints=tuple(
            f"{pair[0].lower()} {pair[1].upper()}"
            for pair in prints
            if len(pair) == 2 and pair[0].lower() in HASHES
        ),
        setup=next(iter(found["setup"]), "actpass"),
        lite=bool(found["ice-lite"]),
        mux=own.has("rtcp-mux") or own.has("rtcp-mux-only"),
        candidates=tuple(_reachable(own.all("candidate")))[:MAX_CANDIDATES],
        complete=own.has("end-of-candidates"),
    )


def _reachable(values: list[str]) -> Iterator[str]:
    for value in values:
        try:
            candidate = candidate_from_sdp(value)
        except (ValueError, IndexError, AssertionError):
            continue
        if reachable(candidate):
            yield value


def reachable(candidate: RTCIceCandidate) -> bool:
    """Whether we can send to it: an address over UDP, for RTP.

    Names (mDNS) are left out: the peer's own checks tell us the address behind them.
    """
    try:
        ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False
    return (
        candidate.component == 1
        and candidate.protocol.lower() == "udp"
        and candidate.type in ("host", "srflx", "relay")
        and 0 < candidate.port < 65536
        and "%" not in candidate.ip
    )
