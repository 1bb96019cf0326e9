"""Policies: what must have been verified before a face is used, for each scope.

A policy can only ask for more than the gate always asks (a live, signed record of this very
picture, an adult, nobody protected); there is none that asks for less.

    [live]                        # likewise [recording] and [publication]
    checks = ["face"]             # of transcript, face, voice: must have passed
    evidence = true               # a file in which the subject says the challenge code
    least_age = 21.0              # by the operator's age model

    territory = "DE"              # where this installation serves; before the first table
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipeline.consent.records import CHECKS, ConsentRecord, Kind, Outcome, Scope
from pipeline.errors import (
    ConsentAgeUnknown,
    ConsentTerritoryDenied,
    ConsentUnderage,
    ConsentUnverified,
    PolicyInvalid,
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one scope asks for. ``least_age`` is in years, 0 asks for no estimate."""

    checks: frozenset[str] = frozenset()
    evidence: bool = False
    least_age: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted(self.checks - set(CHECKS))
        if unknown:
            raise PolicyInvalid(f"there is no check {unknown[0]!r}, only {', '.join(CHECKS)}")
        if not 0 <= self.least_age <= 100:
            raise PolicyInvalid(f"least_age must be in 0..100, got {self.least_age}")

    def examine(self, record: ConsentRecord) -> None:
        """Raises what is missing. Nobody exists who could be asked for a synthetic person."""
        if record.kind is Kind.SYNTHETIC:
            return
        done = record.checks.named()
        missing = sorted(name for name in self.checks if done[name] is not Outcome.PASSED)
        if self.evidence and not (record.evidence_sha256 and record.challenge):
            missing.append("evidence with a challenge code")
        if missing:
            raise ConsentUnverified(
                f"consent {record.id} lacks what the policy asks for: {', '.join(missing)}"
                " (`continuum consent verify` records it)"
            )
        self._examine_age(record)

    def _examine_age(self, record: ConsentRecord) -> None:
        if self.least_age and record.estimated_age is None:
            raise ConsentAgeUnknown(
                f"consent {record.id} has no estimate of age, which the policy asks for:"
                " write it while an age model is set"
            )
        if self.least_age and (record.estimated_age or 0.0) < self.least_age:
            raise ConsentUnderage(
                f"consent {record.id}: the picture looks {record.estimated_age:.0f} years old,"
                f" the policy asks for {self.least_age:.0f}"
            )


_STRICT: Final = Demand(frozenset(CHECKS), evidence=True)


def _default() -> dict[Scope, Demand]:
    """The operator's word is enough to perform; to publish, evidence must have been checked."""
    return {Scope.LIVE: Demand(), Scope.RECORDING: Demand(), Scope.PUBLICATION: _STRICT}


@dataclass(frozen=True, slots=True)
class Policy:
    """Demands by scope, and the country that this installation serves ("" is none named)."""

    demands: Mapping[Scope, Demand] = field(default_factory=_default)
    territory: str = ""

    def examine(self, record: ConsentRecord, scope: Scope) -> None:
        """Raises the ``ConsentError`` that names what is missing for this scope."""
        self.demands[scope].examine(record)
        allowed = record.territory.split(",")
        if record.territory and self.territory and self.territory not in allowed:
            raise ConsentTerritoryDenied(
                f"consent {record.id} is for {record.territory}, this installation serves"
                f" {self.territory}: the subject must agree to it in a new record"
            )


def load_policy(path: Path) -> Policy:
    """Reads a policy file. Raises ``PolicyInvalid``; what is not named keeps its default."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyInvalid(f"policy {path} cannot be read: {error}") from error
    territory = content.pop("territory", "")
    if not isinstance(territory, str):
        raise PolicyInvalid(f"policy {path}: territory is a country code, not {territory!r}")
    demands = _default()
    for name, table in content.items():
        if name not in set(Scope) or not isinstance(table, dict):
            raise PolicyInvalid(f"policy {path}: there is no scope {name!r}: {', '.join(Scope)}")
        demands[Scope(name)] = _demand(path, name, table)
    return Policy(demands, territory)


def _demand(path: Path, name: str, table: dict[str, Any]) -> Demand:
    known: dict[str, tuple[type, ...]] = {
        "checks": (list,),
        "evidence": (bool,),
        "least_age": (int, float),
    }
    for key, value in table.items():
        if key not in known or not isinstance(value, known[key]):
            raise PolicyInvalid(
                f"policy {path}: [{name}] takes {', '.join(known)}, not {key} = {value!r}"
            )
    return Demand(
        frozenset(map(str, table.get("checks", ()))),
        table.get("evidence", False),
        float(table.get("least_age", 0.0)),
    )
