"""The states of a session and the allowed transitions."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session is in its life."""

    OPENING = "opening"
    WAITING = "waiting"
    LIVE = "live"
    ENDING = "ending"
    ENDED = "ended"


ALLOWED = {
    State.OPENING: {State.WAITING, State.ENDING},
    State.WAITING: {State.LIVE, State.ENDING},
    State.LIVE: {State.WAITING, State.ENDING},
    State.ENDING: {State.ENDED},
    State.ENDED: set(),
}


def ended_code(failure: Exception) -> str:
    """The stable ``code`` under which a session ends whose stream failed."""
    code = str(getattr(failure, "code", ""))
    if code == "registry_unavailable":  # for longer than its grant may go on without
        return code
    return "consent_revoked" if code.startswith(("consent", "grant")) else "generation_failed"
