"""Policies: what must be verified before a face is used, for each scope.

A policy only adds to what the gate always requires: a valid, signed record of exactly this picture,
an adult, not protected. As a file:

    territory = "DE"              # where this installation serves

    [live]                        # likewise [recording] and [publication]
    checks = ["face"]             # of transcript, face, voice: must have passed
    evidence = true               # a file in which the subject says the challenge code
    least_age = 21.0              # by the operator's age model

Pure. ``active_policy`` knows which one is in force.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
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

_KEYS: Final[dict[str, tuple[type, ...]]] = {
    "checks": (list,),
    "evidence": (bool,),
    "least_age": (int, float),
}


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
        """Raises what is missing. Synthetic people need no evidence."""
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
    return {scope: _STRICT if scope is Scope.PUBLICATION else Demand() for scope in Scope}


@dataclass(frozen=True, slots=True)
class Policy:
    """Demands by scope, and the country that this installation serves ("" is none named)."""

    demands: Mapping[Scope, Demand] = field(default_factory=_default)
    territory: str = ""

    def __post_init__(self) -> None:
        code = self.territory
        if code and not (len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()):
            raise PolicyInvalid(f"territory is one country code as in DE, not {code!r}")

    def content(self) -> dict[str, Any]:
        """As the file says it, every key named."""
        return {"territory": self.territory} | {
            str(scope): {
                "checks": sorted(demand.checks),
                "evidence": demand.evidence,
                "least_age": demand.least_age,
            }
            for scope, demand in self.demands.items()
        }

    def document(self) -> str:
        """As JSON, which ``read`` reads back."""
        return json.dumps(self.content(), sort_keys=True)

    def toml(self) -> str:
        """As a policy file, which ``load_policy`` reads back."""
        content = self.content()
        lines = [f"territory = {json.dumps(content.pop('territory'))}"]
        for scope, table in content.items():
            lines += ["", f"[{scope}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, document: str) -> Policy:
        """Back from JSON. Raises ``PolicyInvalid``."""
        try:
            content = json.loads(document)
            return _parsed(dict(content), "the registry's policy")
        except (ValueError, TypeError, RecursionError) as error:
            raise PolicyInvalid(f"the registry's policy cannot be read: {error}") from error


def examine(policies: Iterable[Policy], record: ConsentRecord, scope: Scope) -> None:
    """Raises the ``ConsentError`` that names what one of the policies misses for this scope.

    A record that is limited to some countries needs a policy that names where this is.
    """
    policies = list(policies)
    for policy in policies:
        policy.demands[scope].examine(record)
    places, allowed = {p.territory for p in policies if p.territory}, record.territory.split(",")
    if record.territory and not (places and places <= set(allowed)):
        here = ", ".join(sorted(places)) or "it does not say where: `continuum policy set` does"
        raise ConsentTerritoryDenied(
            f"consent {record.id} is for {record.territory}; where this installation serves: {here}"
        )


def load_policy(path: Path) -> Policy:
    """Reads a policy file. Raises ``PolicyInvalid``; what is not named keeps its default."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyInvalid(f"policy {path} cannot be read: {error}") from error
    return _parsed(content, f"policy {path}")


def _parsed(content: dict[str, Any], name: str) -> Policy:
    territory = content.pop("territory", "")
    if not isinstance(territory, str):
        raise PolicyInvalid(f"{name}: territory is a country code, not {territory!r}")
    demands = _default()
    for scope, table in content.items():
        if scope not in set(Scope) or not isinstance(table, dict):
            raise PolicyInvalid(f"{name}: there is no scope {scope!r}: {', '.join(Scope)}")
        demands[Scope(scope)] = _demand(f"{name}: [{scope}]", table, demands[Scope(scope)])
    return Policy(demands, territory)


def _demand(name: str, table: dict[str, Any], default: Demand) -> Demand:
    for key, value in table.items():
        kinds = _KEYS.get(key, ())
        if not isinstance(value, kinds) or isinstance(value, bool) != (bool in kinds):
            raise PolicyInvalid(f"{name} takes {', '.join(_KEYS)}, not {key} = {value!r}")
    return Demand(
        frozenset(map(str, table.get("checks", default.checks))),
        table.get("evidence", default.evidence),
        float(table.get("least_age", default.least_age)),
    )
