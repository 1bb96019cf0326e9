"""One offered section: whether it can be served, and how it is written for aiortc. Pure.

aiortc accepts a whole description or none of it. So it gets a new one, written from what was
understood: the sections that can be served, each with transport, formats and extensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from server.rtc import sdp_codecs, sdp_transport
from server.rtc.sdp import Description, Media
from server.rtc.sdp_transport import MAX_CANDIDATES, Transport

DEFAULT_SCTP_PORT, DEFAULT_MESSAGE_BYTES = 5000, 65_536
_RTP: Final = re.compile(r"(UDP/TLS/|TCP/DTLS/|TCP/TLS/)?RTP/S?AVPF?")
_SCTP: Final = re.compile(r"((UDP|TCP)/)?DTLS/SCTP")
_EXTENSION: Final = re.compile(r"([0-9]{1,2})(/[a-z]+)? (\S+)(?: .*)?")
_SOURCE: Final = re.compile(r"([0-9]{1,10}) ([a-z]+):(.*)")


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a section is not served; ``malformed`` when it says less than a section must."""

    why: str
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One section, and the direction that we answer it with."""

    index: int
    media: Media
    mid: str
    """Its own; where it has none, a name between us and aiortc."""
    named: bool
    offered: str
    direction: str
    transport: Transport
    rejected: Rejected | None = None

    @property
    def kind(self) -> str:
        """audio, video, application or another kind."""
        return self.media.kind

    @property
    def ufrag(self) -> str:
        """The ICE user name that its candidates come with."""
        return self.transport.ufrag


def classify(description: Description) -> list[Section]:
    """Every section, as far as it can be judged alone."""
    judged: list[Section] = []
    for index, media in enumerate(description.media):
        mid = media.attributes.first("mid")
        group = next((g for g in description.bundles() if mid and mid in g), [])
        transport = _transport(description, media, group)
        rejected = _fault(media, transport, bool(group)) or _repeats(media, mid, judged)
        offered = media.attributes.direction() or description.attributes.direction() or "sendrecv"
        name = mid or f"section{index}"
        judged.append(
            Section(index, media, name, bool(mid), offered, "inactive", transport, rejected)
        )
    return judged


def _repeats(media: Media, mid: str, before: Sequence[Section]) -> Rejected | None:
    if mid and any(section.mid == mid for section in before):
        return Rejected(f"Two sections have the mid {mid[:40]!r}.", malformed=True)
    channels = (s for s in before if s.kind == "application" and s.rejected is None)
    if media.kind == "application" and any(channels):
        return Rejected("One application section carries all data channels; there is a second.")
    return None


def _transport(description: Description, media: Media, group: Sequence[str]) -> Transport:
    """The section's own, or, in a BUNDLE group, the first that somebody of the group has."""
    own = sdp_transport.of(media, description.attributes)
    mates = [m for m in description.media if m.attributes.first("mid") in group]
    mates.sort(key=lambda mate: group.index(mate.attributes.first("mid")))
    theirs = [sdp_transport.of(mate, description.attributes) for mate in mates]
    found = next((transport for transport in (own, *theirs) if not transport.fault()), own)
    mux = own.mux or media.attributes.has("bundle-only") or any(t.mux for t in theirs)
    return replace(found, mux=mux)


def _fault(media: Media, transport: Transport, bundled: bool) -> Rejected | None:
    what = f"The {media.kind[:40]} section"
    if media.port == 0 and not (bundled and media.attributes.has("bundle-only")):
        return Rejected(f"{what} is stopped (port 0).")
    if media.kind not in ("audio", "video", "application"):
        return Rejected(f"Media of kind {media.kind[:40]} cannot be served.")
    if not (_SCTP if media.kind == "application" else _RTP).fullmatch(media.protocol):
        return Rejected(f"{what} is of protocol {media.protocol[:40]}, which cannot be served.")
    if fault := transport.fault():
        return Rejected(f"{what} {fault}.", malformed=True)
    return _channel_fault(media) if media.kind == "application" else _media_fault(media, transport)


def _media_fault(media: Media, transport: Transport) -> Rejected | None:
    if not transport.mux:
        return Rejected(f"The {media.kind} section has no rtcp-mux, without which none is served.")
    if not sdp_codecs.usable(media)[0]:
        offered = ", ".join(sdp_codecs.names(media)[:12]) or "none"
        served = "opus, G722, PCMU, PCMA" if media.kind == "audio" else "VP8, H264 (baseline)"
        return Rejected(
            f"No codec of the {media.kind} section can be served: it has {offered}; we have"
            f" {served}."
        )
    return None


def _channel_fault(media: Media) -> Rejected | None:
    legacy = any("webrtc-datachannel" in value for value in media.attributes.all("sctpmap"))
    if media.formats[0] == "webrtc-datachannel" or (legacy and media.formats[0].isdigit()):
        return None
    return Rejected("The application section is no data channel.")


def offer(sections: Sequence[Section], bundle: Sequence[str]) -> str:
    """These sections as a description of their own."""
    shared = _shared([section for section in sections if section.mid in bundle])
    head = ["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=-", "t=0 0"]
    head += ["a=ice-lite"] if any(section.transport.lite for section in sections) else []
    if shared is not None:
        # aiortc stops the transport of the group unless its first transceiver comes first.
        order = sorted(sections, key=lambda section: section.kind == "application")
        mids = [section.mid for section in order if section.mid in bundle]
        head.append("a=group:BUNDLE " + " ".join(mids))
    blocks = [
        _lines(section, shared if shared and section.mid in bundle else section.transport)
        for section in sections
    ]
    return "\r\n".join([*head, *(line for block in blocks for line in block)]) + "\r\n"


def _shared(bundled: Sequence[Section]) -> Transport | None:
    """What a bundle is reached by: its first section's, and candidates wherever they are."""
    if not bundled:
        return None
    first = bundled[0].transport
    same = (section.transport for section in bundled if section.ufrag == first.ufrag)
    candidates = dict.fromkeys(c for transport in same for c in transport.candidates)
    return replace(first, candidates=tuple(candidates)[:MAX_CANDIDATES])


def _lines(section: Section, transport: Transport) -> Iterator[str]:
    yield from _channel(section) if section.kind == "application" else _media(section)
    yield f"a=mid:{section.mid}"
    yield from transport.lines()


def _media(section: Section) -> Iterator[str]:
    payloads, described = sdp_codecs.usable(section.media)
    yield f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, payloads))}"
    yield f"a={section.offered}"
    yield "a=rtcp-mux"
    yield from _extensions(section.media)
    yield from _sources(section.media)
    yield from described


def _extensions(media: Media) -> Iterator[str]:
    """Header extensions that fit a one-byte header (RFC 8285)."""
    matches = (_EXTENSION.fullmatch(value) for value in media.attributes.all("extmap"))
    found = {int(match[1]): match[3] for match in matches if match}
    yield from (f"a=extmap:{n} {uri}" for n, uri in found.items() if 0 < n < 15)


def _sources(media: Media) -> Iterator[str]:
    for value in media.attributes.all("ssrc"):
        match = _SOURCE.fullmatch(value)
        if match and int(match[1]) < 1 << 32:
            yield f"a=ssrc:{value}"


def _channel(section: Section) -> Iterator[str]:
    said = section.media.attributes
    if section.media.protocol == "DTLS/SCTP":
        yield f"m=application 9 DTLS/SCTP {section.media.formats[0]}"
        yield f"a=sctpmap:{section.media.formats[0]} webrtc-datachannel 1024"
    else:
        yield "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
        yield f"a=sctp-port:{_number(said.first('sctp-port'), DEFAULT_SCTP_PORT)}"
    size = _number(said.first("max-message-size"), DEFAULT_MESSAGE_BYTES)
    yield f"a=max-message-size:{size}"


def _number(value: str, default: int) -> int:
    return int(value) if re.fullmatch("[0-9]{1,10}", value) else default
