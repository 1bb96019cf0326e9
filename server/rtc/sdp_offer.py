"""What an SDP offer asks for, and whether a door can serve it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from aiortc.sdp import MediaDescription, SessionDescription

from server.errors import BadSdp, UnusableOffer

MAX_BYTES = 64 * 1024
MAX_SECTIONS = 4
SENDS, RECEIVES = ("sendrecv", "sendonly"), ("sendrecv", "recvonly")


class Role(Enum):
    """What a peer does in a session."""

    CALLER = "call"
    FEEDER = "whip"
    VIEWER = "whep"

    @property
    def speaks(self) -> bool:
        """Whether its audio drives the avatar."""
        return self is not Role.VIEWER


@dataclass(frozen=True, slots=True)
class Section:
    """One media section and the direction that we answer with."""

    kind: str
    direction: str


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that a door can serve."""

    sdp: str
    role: Role
    sections: tuple[Section, ...]
    bundled: bool
    ufrag: str


def parse(sdp: str, role: Role) -> Offer:
    """Raises ``BadSdp`` when it is no offer, ``UnusableOffer`` when the door cannot serve it."""
    description = _description(sdp)
    media = description.media
    if len(media) > MAX_SECTIONS:
        raise UnusableOffer(
            f"The offer has {len(media)} media sections, at most {MAX_SECTIONS} are served: "
            "one audio, one video, one data channel."
        )
    for kind in ("audio", "video", "application"):
        if sum(section.kind == kind for section in media) > 1:
            raise UnusableOffer(f"The offer has several {kind} sections; send one.")
    _require(role, media)
    return Offer(
        sdp=sdp,
        role=role,
        sections=tuple(
            Section(m.kind, _direction(role, m)) for m in media if m.kind != "application"
        ),
        bundled=any(group.semantic == "BUNDLE" for group in description.group),
        ufrag=(media[0].ice and media[0].ice.usernameFragment) or "",
    )


def _description(sdp: str) -> SessionDescription:
    if not sdp.strip():
        raise BadSdp("The body is empty. Send the SDP of createOffer() as application/sdp.")
    if not sdp.lstrip().startswith("v=0"):
        raise BadSdp("The body does not begin with v=0. Send the SDP of createOffer().")
    try:
        description = SessionDescription.parse(sdp)
    except Exception as failure:  # aiortc's parser raises whatever the text leads it to
        raise BadSdp(f"The SDP cannot be read: {failure!r:.200}") from failure
    if not description.media:
        raise BadSdp("The SDP has no media section.")
    for media in description.media:
        if not media.ice or not media.ice.usernameFragment or not media.ice.password:
            raise BadSdp(f"The {media.kind} section has no ice-ufrag and ice-pwd.")
        if not media.dtls or not media.dtls.fingerprints:
            raise BadSdp(f"The {media.kind} section has no DTLS fingerprint.")
    return description


def _require(role: Role, media: Sequence[MediaDescription]) -> None:
    kinds = {section.kind: section.direction or "sendrecv" for section in media}
    unknown = set(kinds) - {"audio", "video", "application"}
    if unknown:
        raise UnusableOffer(f"Media of kind {', '.join(sorted(unknown))} cannot be served.")
    if role.speaks and kinds.get("audio") not in SENDS:
        raise UnusableOffer("The offer must send audio: add the microphone before createOffer().")
    if role is Role.CALLER and kinds.get("video") not in RECEIVES:
        raise UnusableOffer(
            'The offer must receive video: pc.addTransceiver("video", {direction: "recvonly"}).'
        )
    if role is Role.VIEWER and not any(kinds.get(k) in RECEIVES for k in ("audio", "video")):
        raise UnusableOffer("The offer receives neither audio nor video.")


def _direction(role: Role, section: MediaDescription) -> str:
    offered = section.direction or "sendrecv"
    ours = {
        (Role.CALLER, "audio"): "sendrecv",
        (Role.CALLER, "video"): "sendonly",
        (Role.FEEDER, "audio"): "recvonly",
        (Role.FEEDER, "video"): "inactive",
    }.get((role, section.kind), "sendonly")
    if ours == "sendrecv" and offered == "sendonly":
        return "recvonly"
    return ours if ours != "sendonly" or offered in RECEIVES else "inactive"
