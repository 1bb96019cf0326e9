"""Whether an answer is one to its offer, by the standards (RFC 3264, 8829, 8839, 8842, 9143)."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
SETUPS = {"actpass": ("active", "passive"), "active": ("passive",), "passive": ("active",)}
ANSWERS = {
    "sendrecv": DIRECTIONS,
    "sendonly": ("recvonly", "inactive"),
    "recvonly": ("sendonly", "inactive"),
    "inactive": ("inactive",),
}


@dataclass(frozen=True, slots=True)
class Section:
    """One media section as its lines say."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    lines: tuple[str, ...]

    def value(self, name: str) -> str:
        return next((v for v in self.values(name)), "")

    def values(self, name: str) -> list[str]:
        return [line[len(name) + 3 :] for line in self.lines if line.startswith(f"a={name}:")]

    @property
    def direction(self) -> str:
        return next((line[2:] for line in self.lines if line[2:] in DIRECTIONS), "")


@dataclass(frozen=True, slots=True)
class Sdp:
    """A description as its lines say."""

    head: tuple[str, ...]
    media: tuple[Section, ...]

    @property
    def bundle(self) -> list[str]:
        groups = [line.split()[1:] for line in self.head if line.startswith("a=group:BUNDLE")]
        return groups[0] if groups else []

    def setup(self, section: Section) -> str:
        said = [line[8:] for line in self.head if line.startswith("a=setup:")]
        tag = [m for m in self.media if self.bundle and m.value("mid") == self.bundle[0]]
        inherited = tag[0].value("setup") if tag and section.value("mid") in self.bundle else ""
        return section.value("setup") or inherited or next(iter(said), "actpass")


def read(text: str) -> Sdp:
    head: list[str] = []
    media: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("m="):
            media.append([])
        (media[-1] if media else head).append(line)
    return Sdp(tuple(head), tuple(_section(lines) for lines in media))


def _section(lines: list[str]) -> Section:
    kind, port, protocol, *formats = lines[0][2:].split()
    return Section(kind, int(port), protocol, tuple(formats), tuple(lines[1:]))


def check(offer_text: str, answer_text: str) -> Sdp:
    """Asserts all of it; the answer, read."""
    offer, answer = read(offer_text), read(answer_text)
    assert answer_text.endswith("\r\n") and "\n\n" not in answer_text.replace("\r", "")
    assert answer.head[0] == "v=0" and answer.head[1].startswith("o=")
    assert len(answer.media) == len(offer.media), "as many sections as were offered"
    for asked, given in zip(offer.media, answer.media, strict=True):
        _mirrors(asked, given)
        if given.port:
            _accepts(offer, asked, given)
    served = [given.value("mid") for given in answer.media if given.port]
    assert answer.bundle == [mid for mid in offer.bundle if mid in served], "only what was offered"
    assert any(given.values("candidate") for given in answer.media), "somewhere to connect to"
    return answer


def _mirrors(asked: Section, given: Section) -> None:
    assert (given.kind, given.protocol) == (asked.kind, asked.protocol)
    assert given.value("mid") == asked.value("mid")
    assert set(given.formats) <= set(asked.formats), "no format that was not offered"
    assert given.formats, "a section has a format"
    if asked.port == 0 and "a=bundle-only" not in asked.lines:
        assert given.port == 0, "what is stopped stays so"


def _accepts(offer: Sdp, asked: Section, given: Section) -> None:
    assert given.value("setup") in SETUPS[offer.setup(asked)]
    assert given.value("ice-ufrag") and given.value("ice-pwd") and given.value("fingerprint")
    assert given.values("candidate"), "every section that is served can be reached"
    if given.kind == "application":
        return
    assert given.direction in ANSWERS[asked.direction or _session(offer) or "sendrecv"]
    assert "a=rtcp-mux" in given.lines
    offered = {line.split()[0].partition("/")[0] for line in asked.values("extmap")}
    assert {line.split()[0] for line in given.values("extmap")} <= offered
    maps = {line.split()[0] for line in given.values("rtpmap")}
    assert maps == set(given.formats), "every format is named"


def _session(offer: Sdp) -> str:
    return next((line[2:] for line in offer.head if line[2:] in DIRECTIONS), "")
