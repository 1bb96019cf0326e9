"""Session ownership: which key owns which session, and how many each may have. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from server.auth.access import Caller
from server.auth.keys import KeyRole
from server.errors import TooManySessions


class Claim:
    """What one session counts for; each way out counts it out once, however often it is taken."""

    def __init__(self, taken: Counter[str], names: Iterable[str], waiting: str) -> None:
        self._taken, self._names, self._waiting = taken, {*names, waiting}, waiting
        taken.update(self._names)

    def joined(self) -> None:
        """A peer is connected: the session no longer counts as waiting."""
        self._count_out({self._waiting})

    def give_back(self) -> None:
        """It has ended, or never began."""
        self._count_out(set(self._names))

    def _count_out(self, names: set[str]) -> None:
        for name in names & self._names:
            self._taken[name] -= 1
            if self._taken[name] <= 0:
                del self._taken[name]
        self._names -= names


class Quota:
    """Sessions in progress, by key and by token. A local caller has no key and no limit, except
    on sessions that no peer has joined yet: those are counted for each address, too."""

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._taken: Counter[str] = Counter()
        self._owners: dict[str, str] = {}

    def take(self, caller: Caller, address: str = "", waiting: int = 0) -> Claim:
        """Counts one more session.

        Raises ``TooManySessions``: more than the key may have, a second one of a token, or more
        than ``waiting`` (0 is no limit) of one client that no peer has joined.
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
        waits = f"waiting {caller.token or caller.key or address}"
        if waiting and self._taken[waits] >= waiting:
            raise TooManySessions(f"{waiting} sessions of yours wait to be joined; join one first.")
        return Claim(self._taken, limits, waits)

    def counts(self) -> dict[str, int]:
        """What all claims count for, by name."""
        return dict(self._taken)

    @contextmanager
    def beside(self, counts: Mapping[str, int]) -> Iterator[None]:
        """Within the block, sessions of other processes count too."""
        self._taken.update(counts)
        try:
            yield
        finally:
            for name, count in counts.items():
                self._taken[name] -= count
                if self._taken[name] <= 0:
                    del self._taken[name]

    def owns(self, session: str, caller: Caller) -> None:
        """Remembers who began a session."""
        if caller.key:
            self._owners[session] = caller.key

    def owner(self, session: str) -> str:
        """The key that a session counts for; empty for a local caller's."""
        return self._owners.get(session, "")

    def may_open(self, session: str, caller: Caller) -> bool:
        """Whether the caller's key, without the session's own token, opens it."""
        if caller.role is KeyRole.OPERATOR:
            return True
        return caller.role is KeyRole.APPLICATION and self._owners.get(session) == caller.key

    def forget(self, session: str) -> None:
        """The session has ended."""
        self._owners.pop(session, None)
