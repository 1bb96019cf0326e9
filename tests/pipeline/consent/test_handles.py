"""Native handles: closed under use they refuse, and nobody crashes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.consent.database import Database
from pipeline.consent.handles import Occupancy
from pipeline.errors import RegistryUnavailable
from tests.pipeline.consent.conftest import Office

ROUNDS = 2000


def test_handles_closed_under_use_refuse_and_do_not_crash() -> None:
    code = (
        "import json; from benchmarks.stress.handles import run;"
        f" print(json.dumps(run({ROUNDS}, 7)))"
    )
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["rounds"] == ROUNDS and counts["refused"] == 3 * ROUNDS
    assert counts["answers"] > ROUNDS // 4, "hardly any was closed amid its uses"


def test_closing_waits_for_whoever_is_inside_and_turns_others_away() -> None:
    rooms = Occupancy(lambda: RegistryUnavailable("closed"))
    entered, leave, closed = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with rooms.inside():
            entered.set()
            leave.wait()
            with rooms.inside():  # who is inside may go on
                assert not closed.is_set()

    def close() -> None:
        assert rooms.close(60)
        closed.set()

    threads = [threading.Thread(target=work) for work in (stay, close)]
    threads[0].start()
    entered.wait()
    threads[1].start()
    while not rooms.closed:
        pass
    with pytest.raises(RegistryUnavailable), rooms.inside():
        pass
    assert not closed.is_set()
    leave.set()
    for thread in threads:
        thread.join()
    assert closed.is_set() and not rooms.close(0)


def test_after_closing_every_use_is_refused(office: Office) -> None:
    registry, record = office.registry, office.write()
    grant = office.ask(record)
    registry.close()
    registry.close()
    uses = (
        registry.database.revision, registry.database.changes, registry.all, registry.erase_due,
        registry.log.head, registry.policies.in_force, registry.enrolments.all, grant.check,
        office.write, lambda: grant.check(grace_s=1e9), lambda: office.ask(record),
        lambda: registry.log.record("test", actor="test"),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(RegistryUnavailable, match="closed"):
            use()


def test_whoever_writes_is_waited_for(tmp_path: Path) -> None:
    database = Database(tmp_path / "r.sqlite")
    inside, go = threading.Event(), threading.Event()
    found: list[int] = []

    def write() -> None:
        with database.write() as connection:
            inside.set()
            go.wait()
            database.bump(connection)
            found.append(database.changes(connection))

    writer = threading.Thread(target=write)
    writer.start()
    inside.wait()
    closer = threading.Thread(target=database.close)
    closer.start()
    while not database.closed:
        pass
    go.set()
    for thread in (writer, closer):
        thread.join()
    again = Database(tmp_path / "r.sqlite")
    assert [again.changes()] == found
    again.close()
