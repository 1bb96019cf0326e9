"""A registry that cannot be asked: nobody waits for it, what runs has its grace, nothing begins."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MethodType

import pytest

from pipeline.consent import ConsentGrant, Registry, RegistryOverrides
from pipeline.consent.changes import STALE_S, WatchedChanges
from pipeline.consent.validator import KEPT_S
from pipeline.errors import ConsentExpired, ConsentRevoked, RegistryUnavailable
from tests.pipeline.consent.conftest import Clock, Office

PROMPT_S = 0.05  # what the engine's thread may wait at most


class Monotonic:
    """Monotonic seconds, moved by hand; everything that looks at the clock looks at this one."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr("pipeline.consent.validator.time.monotonic", clock)
    return clock


@dataclass
class BlackHole:
    """A server on loopback that accepts and never answers."""

    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    swallows: bool = False
    asked: threading.Event = field(default_factory=threading.Event)

    def through(self, ask: Callable[[], int]) -> Callable[[], int]:
        """The question, sent through here first while the hole is open."""

        def asked() -> int:
            if not self.swallows:
                return ask()
            with socket.create_connection(self.server.getsockname()) as line:
                line.settimeout(30)
                line.sendall(b"what is the revision?")
                self.asked.set()
                try:
                    line.recv(1)
                except OSError as error:
                    raise RegistryUnavailable("no answer") from error
                raise RegistryUnavailable("hung up")

        return asked

    def close(self) -> None:
        """Whoever waits is let go."""
        self.swallows = False
        self.server.close()


@pytest.fixture
def hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    yield hole
    hole.close()


@pytest.fixture
def far(tmp_path: Path, monotonic: Monotonic, hole: BlackHole) -> Iterator[Office]:
    """A registry that is asked by a thread of its own, as one on another machine is."""
    clock = Clock()
    registry = Registry(tmp_path / "r.sqlite", clock, RegistryOverrides(grace_s=30.0))
    registry.database._changes.close()
    registry.database._changes = WatchedChanges(
        hole.through(registry.database.changes), monotonic, look_s=0.001
    )
    yield Office(registry, clock)
    hole.close()
    registry.close()


def prompt(check: Callable[[], object]) -> None:
    """Asks as the engine does, and is answered at once, whatever the answer."""
    began = time.perf_counter()
    try:
        check()
    finally:
        assert time.perf_counter() - began < PROMPT_S


def go_away(office: Office, hole: BlackHole, monotonic: Monotonic, seconds: float) -> None:
    office.registry.database.refresh()
    hole.swallows = True
    hole.asked.wait()
    monotonic.now += seconds


def test_a_server_that_never_answers_holds_up_nobody(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    record = far.write()
    grant = far.ask(record)
    go_away(far, hole, monotonic, STALE_S + 1)
    prompt(grant.check)
    for strict in (
        far.registry.database.revision,
        lambda: grant.check(grace_s=0.0),
        lambda: grant.check(image_sha256=record.image_sha256),
    ):
        with pytest.raises(RegistryUnavailable, match="has not answered for"):
            prompt(strict)
    assert far.registry.silent_s() == pytest.approx(STALE_S + 1)


def test_no_grant_is_given_while_the_registry_is_away(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    record = far.write()
    far.ask(record)
    go_away(far, hole, monotonic, STALE_S + 1)
    with pytest.raises(RegistryUnavailable):
        far.ask(record)


def test_what_runs_goes_on_for_the_grace_and_no_longer(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    grant = far.ask(far.write())
    go_away(far, hole, monotonic, 29)
    prompt(grant.check)
    standing = grant.standing()
    assert standing.good_ago_s == pytest.approx(29, abs=1)
    assert isinstance(standing.refusal, RegistryUnavailable)
    monotonic.now += 2
    with pytest.raises(RegistryUnavailable):
        prompt(grant.check)
    prompt(lambda: grant.check(grace_s=60.0))


def test_asking_during_the_grace_does_not_prolong_it(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    grant = far.ask(far.write())
    go_away(far, hole, monotonic, 0)
    for _ in range(30):
        monotonic.now += 1
        grant.check()
    monotonic.now += 1
    with pytest.raises(RegistryUnavailable):
        grant.check()


def test_an_expiry_within_the_grace_counts(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    grant = far.ask(far.write(expires_at=far.clock.now + 10))
    go_away(far, hole, monotonic, 5)
    grant.check()
    far.clock.now += 10
    with pytest.raises(Exception, match="run out|expired") as told:
        grant.check()
    assert not isinstance(told.value, RegistryUnavailable)
    with pytest.raises(ConsentExpired):
        grant.judge.stands(grant.consent_id, grant.avatar, grant.scope, grace_s=30)


def test_everything_is_right_once_it_answers_again(
    far: Office, hole: BlackHole, monotonic: Monotonic
) -> None:
    record = far.write()
    grant = far.ask(record)
    go_away(far, hole, monotonic, 20)
    hole.close()
    far.registry.database.refresh()
    assert grant.standing().refusal is None and far.registry.silent_s() == 0.0
    far.ask(record).check()
    far.registry.revoke(record.id)
    with pytest.raises(ConsentRevoked):
        grant.check()


def test_what_runs_is_judged_by_the_thread_that_asks(
    far: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant, judges = far.ask(far.write()), set[str]()
    real = grant.judge._judged

    def judged(_: object, *key: object) -> object:
        judges.add(threading.current_thread().name)
        return real(*key)  # type: ignore[arg-type]

    monkeypatch.setattr(grant.judge, "_judged", MethodType(judged, grant.judge))
    far.write(picture=b"somebody else's", subject="Eve Other")  # which changes the revision
    grant.check()
    assert judges == {"registry"}
    far.registry.revoke(grant.consent_id)
    with pytest.raises(ConsentRevoked):
        prompt(grant.check)
    assert judges == {"registry"}


def test_what_nobody_asks_for_is_not_judged_for_ever(far: Office, monotonic: Monotonic) -> None:
    grant = far.ask(far.write())
    monotonic.now += KEPT_S + 1
    far.registry.database.refresh()
    far.write(picture=b"another", subject="Eve Other")
    assert grant.judge._held == {}
    grant.check()


def test_a_watch_outlives_what_it_looks_at(far: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = far.ask(far.write())

    def breaks(_: int) -> None:
        raise RuntimeError("a listener's fault")

    with monkeypatch.context() as patched:
        patched.setattr(type(grant.judge), "changed", lambda *_: breaks(0))
        far.registry.database.refresh()
        with far.registry.database.write() as connection:
            far.registry.database.bump(connection)
    far.registry.revoke(grant.consent_id)
    with pytest.raises(ConsentRevoked):
        grant.check()


def gone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's file is on a disk that gives errors."""

    def fails() -> int:
        raise OSError("input/output error")

    monkeypatch.setattr(office.registry.database._changes, "revision", fails)


def test_a_file_that_cannot_be_read_has_the_same_grace(
    tmp_path: Path, monotonic: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    office = Office(Registry(tmp_path / "r.sqlite", clock, RegistryOverrides(grace_s=30.0)), clock)
    grant: ConsentGrant = office.ask(office.write())
    grant.check()
    gone(office, monkeypatch)
    monotonic.now += 29
    grant.check()
    with pytest.raises(RegistryUnavailable):
        grant.check(grace_s=0)
    monotonic.now += 2
    with pytest.raises(RegistryUnavailable):
        grant.check()
    office.registry.close()


def test_without_a_grace_nothing_goes_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = office.ask(office.write())
    grant.check()
    gone(office, monkeypatch)
    with pytest.raises(RegistryUnavailable):
        grant.check()


class Proxy:
    """In front of a PostgreSQL server: hands everything on, until it stalls."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.open = threading.Event()
        self.open.set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._behind)
            self._lines += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._hand_on, args=(one, other), daemon=True).start()

    def _hand_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self.open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self.open.set()
        self._door.close()
        for line in self._lines:
            line.close()


def test_a_postgresql_server_that_stalls_holds_up_nobody_and_is_asked_again(
    postgres: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.consent.changes.STALE_S", 0.5)
    url = postgres(tmp_path.name)
    folder = url.split("host=")[1]
    proxy = Proxy(f"{folder}/.s.PGSQL.5432")
    where = url.replace("@/", f"@127.0.0.1:{proxy.port}/").split("?")[0]
    clock = Clock()
    setup = RegistryOverrides(vault=tmp_path / "vault", grace_s=60.0)
    office = Office(Registry(where, clock, setup), clock)
    try:
        record = office.write()
        grant = office.ask(record)
        proxy.open.clear()
        while office.registry.silent_s() == 0.0:
            prompt(grant.check)
        prompt(grant.check)
        with pytest.raises(RegistryUnavailable):
            prompt(lambda: office.ask(record))
        proxy.open.set()
        while office.registry.silent_s() > 0.0:
            prompt(grant.check)
        office.ask(record).check()
        assert office.registry.log.verify() > 0
    finally:
        proxy.open.set()
        office.registry.close()
        proxy.close()
