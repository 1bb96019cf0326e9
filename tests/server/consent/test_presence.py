"""A server that was killed left sessions open in the audit log; the next one closes them there."""

from __future__ import annotations

import gc
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.consent import Registry
from pipeline.consent.chain import Entry
from server.consent.monitor import ConsentMonitor


@dataclass
class Performed:
    """A session, as far as the desk knows it."""

    id: str
    grant: Any = field(default_factory=lambda: type("Grant", (), {"consent_id": "c-1"})())

    def notice(self, code: str, message: str) -> None:
        raise AssertionError

    def end_soon(self, why: str, code: str = "") -> None:
        raise AssertionError


def ends(path: Path) -> list[Entry]:
    """The log's ends of sessions, as the next start leaves them; the chain holds."""
    registry = Registry(path)
    found = [e for e in registry.log.entries() if e.action == "session.ended"]
    assert registry.log.verify() > 0
    registry.close()
    return found


def serve(path: Path) -> ConsentMonitor:
    """A server whose sessions one and two began, of which one has ended."""
    monitor = ConsentMonitor(Registry(path))
    for name in ("one", "two"):
        monitor.began(Performed(name), "mira")
    monitor.ended(Performed("one"), "mira", "session_ended", "it was deleted")
    return monitor


def killed(path: Path) -> None:
    child = os.fork()
    if child == 0:
        gc.disable()  # codecs of other tests would wait for threads that are not here
        try:
            monitor = serve(path)
            monitor._clerk.submit(os.kill, os.getpid(), signal.SIGKILL).result()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def restart(path: Path) -> None:
    ConsentMonitor(Registry(path)).close()


def test_the_next_start_writes_one_end_for_each_session_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "consents.sqlite"
    killed(path)
    assert [entry.session for entry in ends(path)] == ["one"]
    restart(path)
    one, two = ends(path)
    assert (two.session, two.avatar, two.consent_id) == ("two", "mira", "c-1")
    detail = json.loads(two.detail)
    assert (detail["code"], detail["why"]) == ("server_ended", "the server ended")
    restart(path)
    assert ends(path) == [one, two], "once is enough"


def test_sessions_of_a_server_that_runs_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "consents.sqlite"
    running = serve(path)
    restart(path)
    assert "two" not in [entry.session for entry in ends(path)]
    running.ended(Performed("two"), "mira", "session_ended", "over")
    running.close()
    assert [entry.session for entry in ends(path)] == ["one", "two"]
    assert list((tmp_path / "consents.vault" / "servers").glob("*/*")) == []


def test_an_end_that_could_not_be_written_is_written_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "consents.sqlite"
    monitor = serve(path)
    monitor._clerk.submit(monitor.registry.close).result()
    monitor.ended(Performed("two"), "mira", "session_ended", "over")
    monitor.close()
    assert "not in the audit log" in caplog.text
    restart(path)
    assert [entry.session for entry in ends(path)] == ["one", "two"]
