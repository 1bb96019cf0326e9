"""SDP as text: session attributes and media sections (RFC 8866). Pure.

Parsing is lenient: lines that make no sense are skipped, so that one odd line does not cost the
rest. Knows lines and attributes; knows nothing of what an endpoint can serve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from server.errors import BadSdp

DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_MEDIA: Final = re.compile(r"m=(\S+) ([0-9]{1,5})(?:/[0-9]+)? (\S+) (\S.*)")
_ENDS: Final = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Attributes:
    """``a=`` lines in their order."""

    lines: tuple[tuple[str, str], ...] = ()

    def has(self, name: str) -> bool:
        return any(found == name for found, _ in self.lines)

    def all(self, *names: str) -> list[str]:
        return [value for found, value in self.lines if found in names]

    def first(self, name: str) -> str:
        """The value of the first one; empty when there is none."""
        return next((value for found, value in self.lines if found == name), "")

    def direction(self) -> str:
        """What it says of its direction; empty when it says nothing."""
        return next((name for name, _ in self.lines if name in DIRECTIONS), "")


@dataclass(frozen=True, slots=True)
class Media:
    """One media section."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Description:
    """A whole description."""

    attributes: Attributes
    media: tuple[Media, ...]

    def bundles(self) -> list[list[str]]:
        """The mids of each BUNDLE group, in the order of the group (RFC 9143)."""
        groups = [value.split() for value in self.attributes.all("group")]
        return [group[1:] for group in groups if group and group[0] == "BUNDLE"]


def lines(text: str) -> list[str]:
    """The lines of a description; those that hold anything unprintable are left out."""
    return [line for line in (raw.strip() for raw in _ENDS.split(text)) if line.isprintable()]


def parse(text: str) -> Description:
    """Raises ``BadSdp`` when it is no description, or has a section that cannot be told apart."""
    head, *sections = grouped(lines(text))
    media = tuple(_media(section) for section in sections)
    if not media:
        raise BadSdp("The SDP has no media section.")
    return Description(_attributes(head), media)


def grouped(found: list[str]) -> list[list[str]]:
    """The lines of the session, then those of each media section."""
    groups: list[list[str]] = [[]]
    for line in found:
        if line.startswith("m="):
            groups.append([])
        groups[-1].append(line)
    return groups


def _media(section: list[str]) -> Media:
    match = _MEDIA.fullmatch(section[0])
    if match is None:
        raise BadSdp(f"This is not a media section: {section[0][:80]!r}")
    kind, port, protocol, formats = match.groups()
    return Media(kind, int(port), protocol, tuple(formats.split()), _attributes(section[1:]))


def _attributes(found: list[str]) -> Attributes:
    pairs = (line[2:].partition(":") for line in found if line.startswith("a="))
    return Attributes(tuple((name.strip(), value.strip()) for name, _, value in pairs))
