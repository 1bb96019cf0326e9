"""What can stand in the way of a call, each with one line that says what to do.

CallError
├── Unreachable   nobody answers at the URL, or no media comes through
├── Refused       the server said no; its problem body says why
└── BadSource     the sound file cannot be used
"""

from __future__ import annotations

import json
from typing import Any


class CallError(Exception):
    """No call. The message is one line for a person."""


class Unreachable(CallError):
    """Nobody answers, or media does not come through."""


class BadSource(CallError):
    """The sound file cannot be used."""


class BadKey(CallError):
    """The file with the API key cannot be read."""


class Refused(CallError):
    """The server answered with a problem (docs/protocol.md, section 8)."""

    def __init__(
        self, status: int, problem: dict[str, Any], retry_after: str | None = None
    ) -> None:
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.resume = str(problem.get("resume", ""))  # by which a moved session goes on
        self.detail = str(problem.get("detail") or problem.get("title") or "no reason given")
        again = f" Try again in {retry_after} s." if retry_after else ""
        super().__init__(f"{status} {self.type.rsplit('/', 1)[-1]}: {self.detail}{again}")


def refusal(status: int, body: str, retry_after: str | None) -> Refused:
    """A ``Refused`` out of an answer, whatever its body is."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    return Refused(status, problem if isinstance(problem, dict) else {}, retry_after)
