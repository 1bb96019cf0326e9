"""Facts from the audit log, which no row of another table may contradict.

Anybody who writes to the database can change, remove and restore rows; entries of the log cannot be
changed unnoticed. So the gate accepts a row only as far as it agrees with these facts. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipeline.consent.chain import START, Entry
from pipeline.consent.records import ConsentRecord, sha256_of
from pipeline.errors import ConsentTampered


@dataclass(frozen=True, slots=True)
class Likeness:
    """A record's picture is like ``other``'s: a denial's id, or that of somebody's consent."""

    other: str
    how: str
    score: float


@dataclass(slots=True)
class Facts:
    """Everything up to entry ``seq``; ``hash`` and ``at_ms`` are that entry's."""

    seq: int = 0
    hash: str = START
    at_ms: int = 0
    records: dict[str, str] = field(default_factory=dict)  # the digest last signed, by id
    revoked: set[str] = field(default_factory=set)
    orders: dict[str, int] = field(default_factory=dict)  # the highest number, by kind
    lifted: set[str] = field(default_factory=set)  # records with an override
    faces: dict[str, str] = field(default_factory=dict)  # hashes of what a face model saw, by id
    alike: dict[str, dict[str, Likeness]] = field(default_factory=dict)  # by record and other
    protections: dict[str, str] = field(default_factory=dict)  # digests of protected people, by id
    protected_told: bool = False  # whether the log tells of every protection

    def take(self, entry: Entry) -> None:
        """Adds what an entry tells. It follows the one before, and is what was written."""
        self.seq, self.hash = entry.seq, entry.hash
        self.at_ms = max(self.at_ms, entry.at_ms)
        family, _, act = entry.action.partition(".")
        if family == "consent":
            self._take_consent(entry, act)
        elif family == "override":
            (self.lifted.add if act == "granted" else self.lifted.discard)(entry.consent_id)
        elif act == "set":
            number = int(_detail(entry).get("number", 0))
            self.orders[family] = max(number, self.orders.get(family, 0))
        elif family in ("denial", "likeness"):
            self._take_protections(_detail(entry), act)
            self._take_likeness(_detail(entry), act)

    def _take_consent(self, entry: Entry, act: str) -> None:
        if act == "revoked":
            self.revoked.add(entry.consent_id)
        elif act == "erased":
            self.faces.pop(entry.consent_id, None)
        elif act in ("recorded", "verified", "completed"):
            detail = _detail(entry)
            self.records[entry.consent_id] = str(detail.get("record", ""))
            if face := detail.get("face"):
                self.faces[entry.consent_id] = str(face)
            self._add((entry.consent_id, *found) for found in detail.get("alike", ()))

    def _take_protections(self, detail: dict[str, Any], act: str) -> None:
        if act == "removed":
            self.protections.pop(str(detail.get("id")), None)
        elif rows := detail.get("rows"):
            self.protections.update(rows)
            self.protected_told |= act in ("seeded", "kept")

    def _take_likeness(self, detail: dict[str, Any], act: str) -> None:
        self._add(detail.get("alike", ()))
        if act == "removed":
            for found in self.alike.values():
                found.pop(str(detail.get("id")), None)

    def _add(self, found: Any) -> None:
        for consent_id, other, how, score in found:
            self.alike.setdefault(consent_id, {})[other] = Likeness(other, how, float(score))

    def check(self, record: ConsentRecord) -> None:
        """Raises ``ConsentTampered`` unless the log tells of the record as it is.

        One of the first releases, of which no log tells, passes: it was never signed.
        """
        told = self.records.get(record.id)
        if (told or record.signature) and told != record.digest:
            raise ConsentTampered(
                f"consent {record.id} differs from its newest entry in the audit log"
            )

    def check_face(self, record: ConsentRecord, face: bytes | None) -> None:
        """Raises ``ConsentTampered`` unless ``face`` is what a model saw, where the log tells."""
        seen = self.faces.get(record.id)
        if seen is not None and (face is None or seen != sha256_of(bytes(face))):
            raise ConsentTampered(f"the face of consent {record.id} is not the one that was seen")

    def likenesses(self, consent_id: str) -> list[Likeness]:
        """What a record's picture was found to be like, the closest first."""
        return sorted(self.alike.get(consent_id, {}).values(), key=lambda one: -one.score)

    def copies(self) -> set[str]:
        """Records whose picture is a copy of another person's: they block no one."""
        return {
            consent_id
            for consent_id, found in list(self.alike.items())  # others may write meanwhile
            if any(not other.startswith("d-") for other in list(found))
        }


def _detail(entry: Entry) -> dict[str, Any]:
    content = json.loads(entry.detail)
    return content if isinstance(content, dict) else {}
