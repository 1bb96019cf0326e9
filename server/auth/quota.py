"""Whose sessions are whose, and how many each may have at a time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from server.auth.access import Caller
from server.auth.keys import Role
from server.errors import TooManySessions


class Quota:
    """Sessions in progress, by key and by token. A local caller has no key and no limit."""

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._taken: Counter[str] = Counter()
        self._owners: dict[str, str] = {}

    def take(self, caller: Caller) -> Callable[[], None]:
        """Counts one more session; what is returned, called once, counts it out again.

        Raises ``TooManySessions``: more than the key may have, or a second one of a token.
        """
        limits = {}
        if caller.key:
            limits[f"key {caller.key}"] = caller.sessions or self._per_key
        if caller.token:
            limits[f"token {caller.token}"] = 1
        for name, limit in limits.items():
            if limit and self._taken[name] >= limit:
                raise TooManySessions(
                    f"This {name.split()[0]} has {limit} of {limit} sessions; end one first."
                )
        self._taken.update(limits.keys())
        return lambda: self._give_back(list(limits))

    def owns(self, session: str, caller: Caller) -> None:
        """Remembers who began a session."""
        if caller.key:
            self._owners[session] = caller.key

    def owner(self, session: str) -> str:
        """The key that a session counts for; empty for a local caller's."""
        return self._owners.get(session, "")

    def may_open(self, session: str, caller: Caller) -> bool:
        """Whether the caller's key, without the session's own token, opens it."""
        if caller.role is Role.OPERATOR:
            return True
        return caller.role is Role.APPLICATION and self._owners.get(session) == caller.key

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._owners.pop(session, None)

    def _give_back(self, names: list[str]) -> None:
        for name in names:
            self._taken[name] -= 1
            if self._taken[name] <= 0:
                del self._taken[name]
