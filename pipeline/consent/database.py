"""The registry's database: a SQLite file, or PostgreSQL by URL.

Knows connections, transactions and schema versions; nothing of consent. There is one writer at a
time: in SQLite by ``BEGIN IMMEDIATE``, in PostgreSQL by a lock. Nearly all writes append to the
audit log and could not run in parallel anyway, but could deadlock. Driver errors become
``RegistryUnavailable``, or ``ConsentInvalid`` when a text is at fault.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from pipeline.consent.changes import Changes, FileChanges, Listener, WatchedChanges
from pipeline.consent.handles import Occupancy
from pipeline.consent.schema import state
from pipeline.errors import ConsentInvalid, RegistryUnavailable

HEAD: Final = "0003"  # the newest migration
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_WAIT_S: Final = 10
_WRITING: Final = 0xC0415E47  # names the advisory lock
_ALONE: Final = sa.select(sa.func.pg_advisory_xact_lock(_WRITING))
_REVISION: Final = sa.select(state.c.value).where(state.c.name == "revision")
_AFTER: Final = "after"  # what a connection keeps until its transaction is written
_ADDED: Final = "added"


class Database:
    """One registry's tables. Raises ``RegistryUnavailable`` when it cannot be opened."""

    def __init__(self, where: Path | str) -> None:
        self.where = where
        self._url = _url(where)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._users = Occupancy(self._turned_away)
        with self.reported():
            self._engine = _engine(self._url, self.is_sqlite)
            one_moment = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            self._reading = self._engine.execution_options(**one_moment)
        try:
            self.migrated = self._migrate()
            with self.reported():
                self._changes: Changes = (
                    FileChanges(where) if self.is_sqlite else WatchedChanges(self.changes)
                )
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to ask; all answers are of the moment of the first."""
        with self._users.inside(), self.reported(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction: all of it happens, or nothing.

        ``durable`` waits for the disk. Without it a power cut may take the last moments, together
        with whatever ran then; a killed process takes nothing.
        """
        with self._users.inside(), self.reported(), self._engine.connect() as connection:
            writing = connection.execution_options(writing=True)
            after: list[Callable[[], None]] = []
            writing.info.update({_AFTER: after, _ADDED: []})
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
        for act in dict.fromkeys(after):
            act()

    def after(self, connection: sa.Connection, act: Callable[[], None]) -> None:
        """Within a write: done once it is written, and not if it is taken back."""
        connection.info[_AFTER].append(act)

    def added(self, connection: sa.Connection) -> list[Any]:
        """Within a write: what it has added to the log by now."""
        found: list[Any] = connection.info[_ADDED]
        return found

    def revision(self) -> int:
        """Grows whenever what the gate judges by has changed, in any process.

        Microseconds, whatever the network does. Raises ``RegistryUnavailable`` when closed, or
        when the last answer is too old.
        """
        if self.closed:
            raise self._turned_away()
        with self.reported():
            return self._changes.revision()

    def answered_at(self) -> float:
        """When the registry last answered, on the monotonic clock."""
        return self._changes.answered_at()

    def refresh(self) -> None:
        """Waits until what anybody wrote before counts here, or the registry does not answer."""
        self._changes.refresh()

    def listen(self, listener: Listener) -> None:
        """Tells of changes, where another thread looks for them (``is_watched``)."""
        self._changes.listen(listener)

    @property
    def is_watched(self) -> bool:
        """Whether a thread of its own asks for changes, because the tables are elsewhere."""
        return self._changes.watched

    def bump(self, connection: sa.Connection) -> None:
        """Within a write: what the gate judges by is changing."""
        value = sa.cast(sa.cast(state.c.value, sa.BigInteger) + 1, sa.Text)
        connection.execute(state.update().where(state.c.name == "revision").values(value=value))
        self.after(connection, self.refresh)  # one's own acts count at once

    def changes(self, connection: sa.Connection | None = None) -> int:
        """The revision as it stands now, or within a write."""
        if connection is not None:
            return int(connection.scalar(_REVISION) or 0)
        with self.read() as reading:
            return int(reading.scalar(_REVISION) or 0)

    def close(self) -> None:
        """Refuses all further queries with ``RegistryUnavailable``; waits for running ones."""
        if self._users.close(_WAIT_S):
            self._changes.close()
            self._engine.dispose()

    @property
    def closed(self) -> bool:
        """Whether it was closed, for good."""
        return self._users.closed

    @property
    def shown(self) -> str:
        """Path or URL, without a password."""
        return str(self.where) if self.is_sqlite else self._url.render_as_string()

    @contextmanager
    def reported(self) -> Iterator[None]:
        """What a driver or the file system refuses becomes our error."""
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

    def _turned_away(self) -> RegistryUnavailable:
        return RegistryUnavailable(f"consent registry {self.shown} is closed")

    # -- versions ----------------------------------------------------------------------------

    def _migrate(self) -> str:
        """Brings the tables to the newest form; the version that was found, "" if none was old."""
        with self.read() as connection:
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
