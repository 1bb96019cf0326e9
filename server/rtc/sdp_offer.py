"""What an SDP offer asks for, and how an endpoint answers each section. Pure.

Every section is answered by itself (RFC 3264, 8829, 9143): a section that cannot be served is
rejected in its place and the rest goes on. The whole offer is refused only when no section is left
that the endpoint (call, WHIP or WHEP) needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from server.errors import BadSdp, UnusableOffer
from server.rtc import sdp_sections
from server.rtc.sdp import Description, parse as read
from server.rtc.sdp_sections import Rejected, Section

MAX_BYTES = 64 * 1024
MAX_SECTIONS = 16
SENDS, RECEIVES = ("sendrecv", "sendonly"), ("sendrecv", "recvonly")


class PeerRole(Enum):
    """What a peer does in a session."""

    CALLER = "call"
    FEEDER = "whip"
    VIEWER = "whep"

    @property
    def speaks(self) -> bool:
        """Whether its audio drives the avatar."""
        return self is not PeerRole.VIEWER


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that the endpoint can serve."""

    role: PeerRole
    sections: tuple[Section, ...]
    bundle: tuple[str, ...]
    """The mids that share one transport, as offered, without what is rejected."""
    bundled: bool
    """Whether everything that is served shares it."""

    @property
    def served(self) -> list[Section]:
        """What is not rejected."""
        return [section for section in self.sections if section.rejected is None]

    @property
    def media(self) -> list[Section]:
        """Audio and video that are not rejected, in their order."""
        return [section for section in self.served if section.kind != "application"]

    @property
    def sdp(self) -> str:
        """What is served, as an offer of its own that aiortc reads."""
        return sdp_sections.offer(self.served, self.bundle)

    @property
    def ufrags(self) -> frozenset[str]:
        """Every ICE user name of the offer."""
        return frozenset(section.ufrag for section in self.sections) - {""}

    @property
    def ufrag(self) -> str:
        """That of the first section that is served."""
        return self.served[0].ufrag

    def place(self, mid: str | None, index: int) -> str | None:
        """The mid of the section whose transport a trickled candidate is for.

        None when it is for none: the section is unknown or rejected, or is bundled and would have
        needed the candidate only alone.
        """
        known = {section.mid: section for section in self.sections if section.named}
        at = self.sections[index] if 0 <= index < len(self.sections) else None
        section = at if mid is None else known.get(mid)
        if section is None or section.rejected is not None:
            return None
        if section.mid in self.bundle and section.ufrag != known[self.bundle[0]].ufrag:
            return None
        return section.mid


def parse(sdp: str, role: PeerRole) -> Offer:
    """Raises ``BadSdp`` for what is no offer, ``UnusableOffer`` for what cannot be served."""
    description = _description(sdp)
    if len(description.media) > MAX_SECTIONS:
        raise UnusableOffer(
            f"The offer has {len(description.media)} media sections, at most {MAX_SECTIONS} are"
            " read. Offer one audio, one video and one data channel."
        )
    judged = sdp_sections.classify(description)
    wanted = _wanted(role, judged)
    group = _group(description, judged)
    sections = tuple(_answered(judged, wanted, group))
    served = [section for section in sections if section.rejected is None]
    bundle = tuple(mid for mid in group if any(section.mid == mid for section in served))
    return Offer(role, sections, bundle, all(section.mid in bundle for section in served))


def _description(sdp: str) -> Description:
    if not sdp.strip():
        raise BadSdp("The body is empty. Send the SDP of createOffer() as application/sdp.")
    if not sdp.lstrip().startswith("v=0"):
        raise BadSdp("The body does not begin with v=0. Send the SDP of createOffer().")
    return read(sdp)


def _group(description: Description, judged: Sequence[Section]) -> list[str]:
    """The first BUNDLE group that says anything."""
    known = {section.mid for section in judged}
    groups = ([mid for mid in group if mid in known] for group in description.bundles())
    return next((list(dict.fromkeys(group)) for group in groups if group), [])


def _wanted(role: PeerRole, judged: Sequence[Section]) -> dict[int, str]:
    """The answered direction of each section that the endpoint needs."""
    hears = _first(judged, "audio", SENDS) if role.speaks else None
    says = None
    if role is not PeerRole.FEEDER:
        both = hears is not None and hears.offered in RECEIVES
        says = hears if both else _first(judged, "audio", RECEIVES)
    shows = _first(judged, "video", RECEIVES) if role is not PeerRole.FEEDER else None
    _require(role, judged, hears, says, shows)
    wanted = {section.index: "sendonly" for section in (says, shows) if section is not None}
    if hears is not None:
        wanted[hears.index] = "sendrecv" if hears is says else "recvonly"
    return wanted


def _first(judged: Sequence[Section], kind: str, directions: Sequence[str]) -> Section | None:
    for section in judged:
        if section.kind == kind and section.rejected is None and section.offered in directions:
            return section
    return None


def _require(
    role: PeerRole,
    judged: Sequence[Section],
    hears: Section | None,
    says: Section | None,
    shows: Section | None,
) -> None:
    if role is PeerRole.FEEDER and hears is None:
        _refuse("The offer must send audio: add the microphone before createOffer().", judged)
    if role is PeerRole.CALLER and shows is None:
        _refuse(
            'The offer must receive video: pc.addTransceiver("video", {direction: "recvonly"}).',
            judged,
        )
    if role is PeerRole.VIEWER and says is None and shows is None:
        _refuse("The offer receives neither audio nor video that can be sent.", judged)


def _refuse(what: str, judged: Sequence[Section]) -> None:
    faults = [section.rejected for section in judged if section.rejected is not None]
    if len(faults) == len(judged) and all(fault.malformed for fault in faults):
        raise BadSdp(" ".join(fault.why for fault in faults)[:500])
    raise UnusableOffer(" ".join([what, *(fault.why for fault in faults)])[:1000])


def _answered(
    judged: Sequence[Section], wanted: dict[int, str], group: Sequence[str]
) -> Iterator[Section]:
    """Each section with the direction of its answer, or why it is rejected.

    A section that nothing is needed of stays, inactive, where it costs no transport of its own.
    """
    needed = [s for s in judged if s.index in wanted or _is_channel(s)]
    shared = all(section.mid in group for section in needed)
    taken = set[str]()  # kinds that have a transport of their own
    for section in judged:
        if section.rejected is not None or _is_channel(section):
            yield section
        elif section.index in wanted and (shared or section.kind not in taken):
            taken.add(section.kind)
            yield replace(section, direction=wanted[section.index])
        elif shared and section.mid in group:
            yield replace(section, direction="inactive")
        else:
            yield replace(section, rejected=Rejected("Nothing is needed of it."))


def _is_channel(section: Section) -> bool:
    return section.kind == "application" and section.rejected is None
