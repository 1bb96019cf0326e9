"""The answer to an offer: what aiortc answered, with the rejected sections back in place. Pure.

An answer has the sections of its offer in their order, their mids and protocols, and in its BUNDLE
group only what was offered in one and is not rejected (RFC 3264, 8829, 9143).
"""

from __future__ import annotations

from collections.abc import Iterator

from server.rtc import sdp
from server.rtc.sdp_offer import Offer
from server.rtc.sdp_sections import Section


def answer(offer: Offer, inner: str) -> str:
    """The whole answer; ``inner`` is aiortc's to ``offer.sdp``."""
    head, *blocks = sdp.grouped(sdp.lines(inner))
    lines = [line for line in head if line and not line.startswith("a=group:")]
    if offer.bundle:
        lines.append("a=group:BUNDLE " + " ".join(offer.bundle))
    left = iter(blocks)
    for section in offer.sections:
        lines += _rejected(section) if section.rejected else _served(section, next(left))
    return "\r\n".join(lines) + "\r\n"


def _rejected(section: Section) -> Iterator[str]:
    media = section.media
    yield f"m={media.kind} 0 {media.protocol} {' '.join(media.formats)}"
    yield "c=IN IP4 0.0.0.0"
    yield "a=inactive"
    if section.named:
        yield f"a=mid:{section.mid}"


def _served(section: Section, block: list[str]) -> Iterator[str]:
    kind, port, _, formats = block[0].split(" ", 3)
    yield f"{kind} {port} {section.media.protocol} {formats}"
    yield from (
        line for line in block[1:] if line and (section.named or not line.startswith("a=mid:"))
    )
