"""Consent records and the SQLite file that keeps them.

A record says who agreed (or that nobody exists who could), to what, for which exact picture, and
until when. It is written once; the only later change is its revocation. The registry answers
questions about records and decides nothing: decisions are the gate's.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pipeline.errors import ConsentInvalid, ConsentMissing, RegistryUnavailable

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS consents (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    statement TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    scopes TEXT NOT NULL,
    verified_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL
);
CREATE INDEX IF NOT EXISTS consents_by_image ON consents (image_sha256);
"""
_INSERT: Final = (
    "INSERT OR IGNORE INTO consents VALUES (:id, :subject, :kind, :statement, :image_sha256,"
    " :scopes, :verified_by, :created_at, :expires_at, NULL)"
)
_REVOKE: Final = "UPDATE consents SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"


class Kind(StrEnum):
    """Whose face it is."""

    SELF = "self"
    THIRD_PARTY = "third_party"
    LICENSED = "licensed"
    SYNTHETIC = "synthetic"


class Scope(StrEnum):
    """What the face may be used for."""

    LIVE = "live"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One agreement. Times are seconds since the epoch; ``expires_at`` None means no end."""

    id: str
    subject: str
    kind: Kind
    statement: str
    image_sha256: str
    scopes: frozenset[Scope]
    verified_by: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def __post_init__(self) -> None:
        for name in ("id", "subject", "statement", "verified_by"):
            if not getattr(self, name).strip():
                raise ConsentInvalid(f"a consent record needs a {name}, got an empty one")
        if len(self.image_sha256) != 64 or set(self.image_sha256) - set("0123456789abcdef"):
            raise ConsentInvalid(f"not a SHA-256 in lower-case hex: {self.image_sha256!r}")
        if not self.scopes:
            raise ConsentInvalid(f"a consent record needs a scope of {', '.join(Scope)}")
        if self.expires_at is not None and self.expires_at <= self.created_at:
            raise ConsentInvalid(
                f"expires_at {self.expires_at:.0f} is not after created_at {self.created_at:.0f}"
            )


def new_record(
    *,
    subject: str,
    kind: Kind,
    statement: str,
    image_sha256: str,
    scopes: Iterable[Scope] = tuple(Scope),
    verified_by: str = "operator",
    expires_at: float | None = None,
    now: float | None = None,
) -> ConsentRecord:
    """A record with a fresh, unguessable id; ``ConsentInvalid`` says what is missing."""
    return ConsentRecord(
        id=f"c-{secrets.token_hex(8)}",
        subject=subject,
        kind=kind,
        statement=statement,
        image_sha256=image_sha256,
        scopes=frozenset(scopes),
        verified_by=verified_by,
        created_at=time.time() if now is None else now,
        expires_at=expires_at,
    )


def sha256_of(data: bytes | Path) -> str:
    """SHA-256 of bytes, or of a file read in pieces, as lower-case hex."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Registry:
    """The consent records of one installation, safe to share between threads and processes.

    Opens (and creates) the SQLite file at ``path``; raises ``RegistryUnavailable`` when it cannot.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self._lock = threading.Lock()
        with self._reported():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except RegistryUnavailable:
            self._db.close()
            raise

    def add(self, record: ConsentRecord) -> ConsentRecord:
        """Writes a record once and returns what the registry holds under its id.

        A record that is there already stays as it is, revoked or not.
        """
        row = asdict(record) | {"scopes": " ".join(sorted(record.scopes))}
        with self._reported():
            self._db.execute(_INSERT, row)
        return self.get(record.id)

    def get(self, consent_id: str) -> ConsentRecord:
        """The record with this id; raises ``ConsentMissing``."""
        found = self._select("WHERE id = ?", consent_id)
        if not found:
            raise ConsentMissing(
                f"no consent record {consent_id!r}: `python -m pipeline.consent list` shows them"
            )
        return found[0]

    def all(self) -> list[ConsentRecord]:
        """Every record, oldest first."""
        return self._select("ORDER BY created_at, id")

    def for_image(self, image_sha256: str) -> list[ConsentRecord]:
        """The records of one exact picture, oldest first."""
        return self._select("WHERE image_sha256 = ? ORDER BY created_at, id", image_sha256)

    def revoke(self, consent_id: str) -> ConsentRecord:
        """Withdraws consent from now on; revoking twice keeps the first time."""
        with self._reported():
            self._db.execute(_REVOKE, (self.clock(), consent_id))
        return self.get(consent_id)

    def close(self) -> None:
        """Closes the file; a closed registry answers ``RegistryUnavailable``."""
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        with self._reported():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA busy_timeout = 5000")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise RegistryUnavailable(
                    f"consent registry {self.path} has schema {version}, this release reads"
                    f" {SCHEMA_VERSION}: upgrade Continuum or name another registry"
                )
            self._db.executescript(_SCHEMA + f"PRAGMA user_version = {SCHEMA_VERSION};")

    def _select(self, where: str, *values: object) -> list[ConsentRecord]:
        with self._reported():
            rows = self._db.execute(f"SELECT * FROM consents {where}", values).fetchall()
        return [_record(row) for row in rows]

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """One statement at a time; what SQLite and the file system refuse becomes our error."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise RegistryUnavailable(
                    f"consent registry {self.path} cannot be used ({error}):"
                    " name a writable file for it"
                ) from error


def _record(row: tuple[Any, ...]) -> ConsentRecord:
    record = ConsentRecord(*row)
    scopes = frozenset(Scope(scope) for scope in str(record.scopes).split())  # stored as text
    return replace(record, kind=Kind(record.kind), scopes=scopes)
