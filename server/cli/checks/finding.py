"""What a check found, and how a check that could not be finished is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from pipeline.errors import ContinuumError
from server.auth.keys import KeyStoreError
from server.settings import Settings, SettingsError


class State(StrEnum):
    """How well something is."""

    OK = "ok"
    NOTE = "note"  # works, and somebody may want to know
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do."""

    check: str
    state: State
    detail: str
    advice: str = ""

    def describe(self) -> dict[str, str]:
        """As JSON."""
        return asdict(self)

    def line(self) -> str:
        """For people; advice on a line of its own."""
        text = f"{self.state:<5} {self.check:<11} {self.detail}"
        return text + (f"\n{'':18}{self.advice}" if self.advice else "")


Check = Callable[[Settings], Iterator[Finding]]


def ok(check: str, detail: str) -> Finding:
    return Finding(check, State.OK, detail)


def note(check: str, detail: str, advice: str = "") -> Finding:
    return Finding(check, State.NOTE, detail, advice)


def fail(check: str, detail: str, advice: str = "") -> Finding:
    return Finding(check, State.FAIL, detail, advice)


def findings(checks: dict[str, Check], settings: Settings) -> Iterator[Finding]:
    """All that they find; a check that a refusal ends is itself a finding."""
    for name, check in checks.items():
        try:
            yield from check(settings)
        except (ContinuumError, SettingsError, KeyStoreError, OSError) as refusal:
            yield fail(name, " ".join(str(refusal).split()))
