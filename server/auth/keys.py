"""API keys: who may use this server, stored in a small file of their own.

A key reads ``ck_<id>_<secret>``. The file holds Argon2id of the secret; the secret itself is shown
once, when the key is created. Revoked keys stay in the file as a record of who had access until
when. Knows nothing of HTTP.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PREFIX: Final = "ck_"
KEY: Final = re.compile(r"ck_([0-9a-f]{12})_([A-Za-z0-9_-]{20,100})\Z")
MAX_NAME: Final = 100
# RFC 9106's second choice is for passwords; 256 random bits need less, and a server has little.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    hash TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL
);
"""


class KeyStoreError(RuntimeError):
    """The file of keys cannot be read or written, or what was asked of it makes no sense."""


class KeyRole(StrEnum):
    """The role of a key."""

    OPERATOR = "operator"  # runs it: everything
    APPLICATION = "application"  # a back end: sessions, and tokens for its users
    MONITOR = "monitor"  # health and metrics
    USER = "user"  # somebody's browser, with a token; never holds a key


KEY_ROLES: Final = (KeyRole.OPERATOR, KeyRole.APPLICATION, KeyRole.MONITOR)


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Times are seconds since the epoch; ``sessions`` 0 is what the settings say."""

    id: str
    name: str
    role: KeyRole
    sessions: int
    hash: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def live(self, now: float) -> bool:
        """Whether it opens anything at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def describe(self) -> dict[str, object]:
        """For a list: everything but the hash."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role.value,
            "sessions": self.sessions,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
        }


def parse(text: str) -> tuple[str, str] | None:
    """Id and secret of what looks like a key, otherwise None."""
    found = KEY.match(text)
    return (found[1], found[2]) if found else None


def verify(key: Key | None, secret: str) -> bool:
    """Whether ``secret`` is the key's. Takes as long for a key that does not exist."""
    try:
        _HASHER.verify(key.hash if key else _DECOY, secret)
    except (VerificationError, InvalidHashError):
        return False
    return key is not None


_DECOY: Final = _HASHER.hash(secrets.token_urlsafe(32))


class KeyStore:
    """The keys of one installation; safe to share between threads and processes.

    The file is made by the first key: until then, asking leaves nothing behind.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def create(
        self, name: str, role: KeyRole, sessions: int = 0, days: float | None = None
    ) -> tuple[Key, str]:
        """A new key, and the only sight of its text. Raises ``KeyStoreError``."""
        if not name.strip() or len(name) > MAX_NAME:
            raise KeyStoreError(f"a key's name has 1 to {MAX_NAME} characters, not {len(name)}")
        if role not in KEY_ROLES:
            raise KeyStoreError(f"a key's role is among {', '.join(KEY_ROLES)}, not {role}")
        if sessions < 0 or (days is not None and days <= 0):
            raise KeyStoreError(f"sessions {sessions} and days {days} must not be negative")
        now, secret = self.clock(), secrets.token_urlsafe(32)
        ends = None if days is None else now + days * 86_400
        key = Key(secrets.token_hex(6), name, role, sessions, _HASHER.hash(secret), now, ends)
        row = (key.id, name, role.value, sessions, key.hash, now, ends, None)
        with self._open(make=True) as db:
            assert db is not None
            db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return key, f"{PREFIX}{key.id}_{secret}"

    def get(self, key_id: str) -> Key | None:
        """The key with this id, live or not."""
        found = self._select("WHERE id = ?", key_id)
        return found[0] if found else None

    def all(self) -> list[Key]:
        """Every key that there ever was, oldest first."""
        return self._select("ORDER BY created_at, id")

    def any_live(self) -> bool:
        """Whether any key is valid."""
        now = self.clock()
        return any(key.live(now) for key in self.all())

    def revoke(self, key_id: str) -> Key:
        """Closes a key from now on; twice keeps the first time. Raises ``KeyStoreError``."""
        statement = "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
        with self._open() as db:
            if db is not None:
                db.execute(statement, (self.clock(), key_id))
        key = self.get(key_id)
        if key is None:
            raise KeyStoreError(f"there is no key {key_id!r}: `list` shows those there are")
        return key

    def close(self) -> None:
        """Closes the file; it opens again when it is needed."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _select(self, where: str, *values: object) -> list[Key]:
        with self._open() as db:
            rows = (
                [] if db is None else db.execute(f"SELECT * FROM keys {where}", values).fetchall()
            )
        return [_key(row) for row in rows]

    @contextmanager
    def _open(self, make: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The file, one statement at a time; None when there is none and none is to be made."""
        with self._lock:
            try:
                yield self._connected(make)
            except (sqlite3.Error, OSError) as failure:
                raise KeyStoreError(
                    f"the keys in {self.path} cannot be used ({failure}): name a writable file"
                ) from failure

    def _connected(self, make: bool) -> sqlite3.Connection | None:
        if self._db is None and (make or self.path.exists()):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
            self._db = _opened(self.path)
        return self._db


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _key(row: tuple[Any, ...]) -> Key:
    key_id, name, role, *rest = row
    return Key(key_id, name, KeyRole(role), *rest)
