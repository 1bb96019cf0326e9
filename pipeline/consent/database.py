"""Where the registry's tables live: a SQLite file, or PostgreSQL by URL.

Knows connections, transactions and schema versions; nothing of consent. Writes are one at a time,
in SQLite by ``BEGIN IMMEDIATE``, in PostgreSQL by a lock that each takes first: nearly all append
to the audit log, so none could go on beside another anyway, but two could wait for each other.
Everything that a driver raises leaves as ``RegistryUnavailable``, or as ``ConsentInvalid`` when a
text is at fault.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from pipeline.consent.schema import state
from pipeline.errors import ConsentInvalid, RegistryUnavailable

HEAD: Final = "0002"  # the newest migration
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOOK_S: Final = 0.2  # how often a server elsewhere is asked whether anything has changed
_WAIT_S: Final = 10
_WRITING: Final = 0xC0415E47  # names the advisory lock
_ALONE: Final = sa.select(sa.func.pg_advisory_xact_lock(_WRITING))
_REVISION: Final = sa.select(state.c.value).where(state.c.name == "revision")


class Database:
    """One registry's tables. Raises ``RegistryUnavailable`` when it cannot be opened."""

    def __init__(self, where: Path | str) -> None:
        self.where = where
        self._url = _url(where)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._closed = False
        with self.reported():
            self._engine = _engine(self._url, self.is_sqlite)
        try:
            with self.reported():
                self._changes = _Changes()
                self.migrated = self._migrate()
                if self.is_sqlite:
                    self._changes = _FileChanges(where)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to ask."""
        with self.reported(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction: all of it happens, or nothing.

        ``durable`` waits for the disk. Without it a power cut may take the last moments, together
        with whatever ran then; a killed process takes nothing.
        """
        with self.reported(), self._engine.connect() as connection:
            writing = connection.execution_options(writing=True)
            if self.is_sqlite:
                level = "FULL" if durable else "NORMAL"
                driver: Any = connection.connection.dbapi_connection
                driver.execute(f"PRAGMA synchronous = {level}")
            with writing.begin():
                if not self.is_sqlite:
                    writing.execute(_ALONE)
                    if not durable:
                        writing.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield writing
        self._changes.forget()  # one's own acts count at once

    def revision(self) -> int:
        """Grows whenever what the gate judges by has changed, in any process. Microseconds."""
        if self._closed:
            raise RegistryUnavailable(f"consent registry {self.shown} is closed")
        with self.reported():
            return self._changes.revision(self._ask_revision)

    def bump(self, connection: sa.Connection) -> None:
        """Within a write: what the gate judges by is changing."""
        value = sa.cast(sa.cast(state.c.value, sa.BigInteger) + 1, sa.Text)
        connection.execute(state.update().where(state.c.name == "revision").values(value=value))

    def changes(self, connection: sa.Connection | None = None) -> int:
        """The revision as it stands now, or within a write."""
        if connection is not None:
            return int(connection.scalar(_REVISION) or 0)
        with self.read() as reading:
            return int(reading.scalar(_REVISION) or 0)

    def close(self) -> None:
        """From now on every question is answered with ``RegistryUnavailable``."""
        if not self._closed:
            self._closed = True
            self._changes.close()
            self._engine.dispose()

    @property
    def shown(self) -> str:
        """Path or URL, without a password."""
        return str(self.where) if self.is_sqlite else self._url.render_as_string()

    @contextmanager
    def reported(self) -> Iterator[None]:
        """What a driver or the file system refuses becomes our error."""
        if self._closed:
            raise RegistryUnavailable(f"consent registry {self.shown} is closed")
        try:
            yield
        except (UnicodeError, sa.exc.DataError) as error:
            raise ConsentInvalid("a text holds what no database can keep: send plain text") from (
                error
            )
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise RegistryUnavailable(
                f"consent registry {self.shown} cannot be used"
                f" ({' '.join(str(cause).split())}): name a writable file or a reachable server"
            ) from error

    # -- versions ----------------------------------------------------------------------------

    def _ask_revision(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(_REVISION) or 0)

    def _migrate(self) -> str:
        """Brings the tables to the newest form; the version that was found, "" if none was old."""
        with self._engine.connect() as connection:
            if self._version(connection) == HEAD:
                return ""
        with self.write() as connection:
            found = self._version(connection)
            if found == HEAD:  # somebody else was faster
                return ""
            first = sa.inspect(connection).has_table("consents")  # of the first releases
            _upgrade(connection)
            return found or ("0000" if first else "")

    def _version(self, connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version = str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))
        if version > HEAD:
            raise RegistryUnavailable(
                f"consent registry {self.shown} has schema {version}, this release reads {HEAD}:"
                " upgrade Continuum or name another registry"
            )
        return version


def _url(where: Path | str) -> sa.URL:
    if isinstance(where, Path):
        return sa.URL.create("sqlite", database=str(where))
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError as error:
        raise RegistryUnavailable(f"not a database URL: {where!r}") from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "postgresql":
        raise RegistryUnavailable(
            f"a registry is a SQLite file or postgresql://, not {url.drivername}://"
        )
    return url


def _engine(url: sa.URL, is_sqlite: bool) -> sa.Engine:
    if not is_sqlite:
        limits = {"connect_timeout": _WAIT_S, "options": f"-c statement_timeout={_WAIT_S}s"}
        try:
            return sa.create_engine(url, pool_pre_ping=True, connect_args=limits)
        except ModuleNotFoundError as error:
            raise RegistryUnavailable(
                "PostgreSQL needs a driver: pip install 'continuum-avatar[postgres]'"
            ) from error
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": _WAIT_S})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where ``_begin`` says so
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _upgrade(connection: sa.Connection) -> None:
    # Imported here: a registry that is up to date, which is nearly always, needs none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


class _Changes:
    """Asks a server for the revision, a few times a second at most."""

    def __init__(self) -> None:
        self._known, self._asked = -1, float("-inf")
        self._lock = threading.Lock()

    def revision(self, ask: Any) -> int:
        with self._lock:
            if time.monotonic() - self._asked >= _LOOK_S:
                self._known, self._asked = int(ask()), time.monotonic()
            return self._known

    def forget(self) -> None:
        """The next question is asked in any case."""
        with self._lock:
            self._asked = float("-inf")

    def close(self) -> None:
        """Nothing is held."""


class _FileChanges(_Changes):
    """Asks SQLite whether anybody wrote since, which is a look into shared memory."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._seen = -1

    def revision(self, ask: Any) -> int:
        with self._lock:
            (version,) = self._file.execute("PRAGMA data_version").fetchone()
            if version != self._seen:
                query = "SELECT value FROM registry_state WHERE name = 'revision'"
                (value,) = self._file.execute(query).fetchone()
                self._known, self._seen = int(value), version
            return self._known

    def close(self) -> None:
        self._file.close()
