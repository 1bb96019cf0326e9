"""ICE servers out of a server's ``Link`` headers (docs/protocol.md, section 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LINK: Final = re.compile(r"<([^>]+)>([^<]*)")
FIELD: Final = re.compile(r';\s*([a-z-]+)="([^"]*)"')


def linked(headers: Iterable[str], relation: str) -> str:
    """The URL of the first link of this relation; empty without one."""
    links = LINK.findall(", ".join(headers))
    return next((url for url, rest in links if re.search(rf'rel="?{relation}"?', rest)), "")


def ice_servers(headers: Iterable[str]) -> list[dict[str, str]]:
    """Fields of ``RTCIceServer`` for every link of relation ``ice-server``."""
    found = []
    for url, rest in LINK.findall(", ".join(headers)):
        if re.search(r"rel=\"?ice-server", rest):
            fields = dict(FIELD.findall(rest))
            known = {name: fields[name] for name in ("username", "credential") if name in fields}
            found.append({"urls": url, **known})
    return found
