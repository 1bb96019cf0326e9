"""The hash chain of the audit log: entries, what is hashed, and where a chain breaks.

Pure. An entry carries the hash of the previous one and the operator's signature over its own hash,
so the signature of the last entry covers all entries before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

START: Final = ""  # what the first entry follows


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. ``at_ms`` counts milliseconds since the epoch, ``detail`` is JSON."""

    seq: int
    at_ms: int
    actor: str
    action: str
    consent_id: str
    avatar: str
    session: str
    detail: str
    previous: str
    hash: str = ""
    signature: str = ""

    def reckoned(self) -> str:
        """The hash that these fields have, as hex."""
        content = [getattr(self, name) for name in _HASHED]
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def line(self) -> str:
        """One line of the export."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Entry:
        """Back from the export; raises ``ValueError`` unless it is exactly what was written."""
        content = json.loads(line)
        if not isinstance(content, dict) or set(content) != set(_FIELDS):
            raise ValueError("not an audit entry")
        entry = cls(**content)
        if entry.line() != line:
            raise ValueError("not written by Continuum")
        return entry

    def describe(self) -> dict[str, Any]:
        """As JSON for ``GET /v1/audit``: ``detail`` unfolded."""
        return asdict(self) | {"detail": json.loads(self.detail)}


_FIELDS: Final = tuple(item.name for item in fields(Entry))
_HASHED: Final = _FIELDS[:9]


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where the chain does not hold: the entry's number, and why."""

    seq: int
    why: str


def walked(
    entries: Iterable[Entry],
    vouches: Callable[[bytes, bytes], bool] | None = None,
    previous: Entry | None = None,
) -> Iterator[Entry | Break]:
    """Entries as long as the chain holds, then the break. Pure; ``vouches`` checks signatures."""
    seq, digest = (previous.seq, previous.hash) if previous else (0, START)
    for entry in entries:
        why = _fault(entry, seq, digest, vouches)
        if why:
            yield Break(seq + 1, why)
            return
        seq, digest = entry.seq, entry.hash
        yield entry


def first_break(
    lines: Iterable[str], vouches: Callable[[bytes, bytes], bool] | None = None
) -> Break | None:
    """The first broken link of an exported log, or None; ``vouches`` checks signatures, too."""
    read = 0
    parsed = (Entry.from_line(line.rstrip("\n")) for line in lines)
    try:
        for checked in walked(parsed, vouches):
            if isinstance(checked, Break):
                return checked
            read = checked.seq
    except (ValueError, TypeError) as error:
        return Break(read + 1, f"it cannot be read ({error})")
    return None


def _fault(
    entry: Entry, seq: int, digest: str, vouches: Callable[[bytes, bytes], bool] | None
) -> str:
    if entry.seq != seq + 1:
        return f"entry {seq + 1} is missing, {entry.seq} follows"
    if entry.previous != digest:
        return "it does not follow the entry before it"
    if entry.hash != entry.reckoned():
        return "its content was changed"
    if vouches is not None and not vouches(*signed(entry)):
        return "the operator did not sign it"
    return ""


def signed(entry: Entry) -> tuple[bytes, bytes]:
    """What was signed, and the signature; nothing where they cannot be read."""
    try:
        return bytes.fromhex(entry.hash), _hex(entry.signature)
    except ValueError:
        return b"", b""


def _hex(text: str) -> bytes:
    if text != text.lower() or len(text) != 128:
        raise ValueError("not a signature as it is written")
    return bytes.fromhex(text)
