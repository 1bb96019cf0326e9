"""The consent watch: what it cannot judge ends that session alone, and nothing ends the watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline.consent import Registry
from pipeline.errors import ConsentRevoked, RegistryUnavailable
from server.consent import monitor
from server.consent.monitor import ConsentMonitor
from server.errors import RegistryDown


@dataclass
class Grant:
    """Holds until ``refusal`` says otherwise."""

    consent_id: str = "c-1"
    refusal: Exception | None = None

    def check(self, session: str = "") -> None:
        if self.refusal is not None:
            raise self.refusal


@dataclass
class Performing:
    id: str
    grant: Grant = field(default_factory=Grant)
    ended: list[str] = field(default_factory=list)

    def notice(self, code: str, message: str) -> None: ...

    def end_soon(self, why: str, code: str = "") -> None:
        self.ended.append(code)


@dataclass
class Watch:
    monitor: ConsentMonitor
    sessions: list[Performing]
    looks: list[int] = field(default_factory=list)
    failure: Exception | None = None

    async def changed(self) -> None:
        self.looks.append(1)
        if self.failure:
            raise self.failure

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)


@pytest_asyncio.fixture
async def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    monkeypatch.setattr(monitor, "LOOK_S", 0.0)
    made = Watch(
        ConsentMonitor(Registry(tmp_path / "consents.sqlite")),
        [Performing("s-1"), Performing("s-2")],
    )
    running = asyncio.create_task(made.monitor.watch(lambda: made.sessions, made.changed))
    yield made
    assert not running.done(), "nothing that it looks at ends it"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(made.monitor.close)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (ConsentRevoked("revoked"), "consent_revoked"),
        (ValueError("a record of no known kind"), "consent_revoked"),
        (RegistryUnavailable("away for longer than the grace"), "registry_unavailable"),
    ],
)
async def test_a_grant_that_does_not_hold_ends_its_session_alone(
    watch: Watch, refusal: Exception, code: str
) -> None:
    one, other = watch.sessions
    one.grant.refusal = refusal
    await watch.until(lambda: one.ended)
    assert set(one.ended) == {code} and not other.ended
    other.grant.refusal = ConsentRevoked("revoked later")
    await watch.until(lambda: other.ended)


async def test_a_change_that_cannot_be_followed_is_followed_later(watch: Watch) -> None:
    watch.failure = ValueError("one unreadable card")
    await watch.until(lambda: len(watch.looks) > 2)
    assert "unreadable" in watch.monitor.problem and not watch.monitor.away
    watch.failure = None
    await watch.until(lambda: not watch.monitor.problem)


async def test_while_the_registry_is_away_nobody_new_is_let_in_and_nobody_ends(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = watch.monitor.registry.database

    def away() -> int:
        raise RegistryUnavailable("no route to the database")

    with monkeypatch.context() as patch:
        patch.setattr(database, "revision", away)
        await watch.until(lambda: watch.monitor.away)
        with pytest.raises(RegistryDown) as refused:
            watch.monitor.check()
        problem = refused.value.problem()
        assert problem["code"] == "registry_unavailable" and problem["retryable"]
        assert refused.value.headers["Retry-After"] == "5" and refused.value.status == 503
        assert "no route" in watch.monitor.problem
    await watch.until(lambda: not watch.monitor.away)
    watch.monitor.check()
    assert not any(session.ended for session in watch.sessions)


async def test_what_could_not_be_audited_is_written_in_order_once_the_registry_is_back(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, session = watch.monitor.registry.log, watch.sessions[0]
    with monkeypatch.context() as patch:

        def away(*_: object, **__: object) -> None:
            raise RegistryUnavailable("away")

        patch.setattr(log, "record", away)
        watch.monitor.began(session, "mira")
        watch.monitor.ended(session, "mira", "session_ended", "it was deleted")
        await asyncio.to_thread(watch.monitor._clerk.submit(lambda: None).result)
        assert len(watch.monitor._owed) == 2
    await watch.until(lambda: not watch.monitor._owed)
    written = [entry.action for entry in log.entries() if entry.session == session.id]
    assert written == ["session.started", "session.ended"]
