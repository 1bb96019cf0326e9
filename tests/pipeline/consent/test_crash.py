"""Killed at any moment: the registry opens, the chain holds, and no file is without an owner."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.consent import Registry, image_fingerprint
from pipeline.consent.erasure import named_files
from pipeline.consent.policy import Policy
from pipeline.consent.records import Kind, new_record, sha256_of
from pipeline.consent.schema import audit, consents, orders
from tests.pipeline.consent.conftest import photo, png

KILLS = 100


def work(path: Path, picture: bytes, seed: int, told: int) -> None:
    """Consents, enrolments, revocations, policies, without end; tells of each act begun."""
    rng = random.Random(seed)
    registry = Registry(path)
    for turn in range(10_000):
        name = f"p-{seed}-{turn}"
        record = new_record(
            subject=name, kind=Kind.SELF, statement="yes", image_sha256=sha256_of(picture),
            adult=True,
        )  # fmt: skip
        os.write(told, b".")
        registry.add(record, evidence=rng.randbytes(50_000))
        os.write(told, b".")
        if turn % 3:
            registry.enrolments.add(
                name, picture=picture, landmarks=b"{}", consent_id=record.id, actor="test"
            )
            os.write(told, b".")
        if turn % 2:
            os.write(told, b".")
            registry.revoke(record.id)
        os.write(told, b".")
        registry.policies.set(Policy())


def check(path: Path) -> int:
    """Opens what a killed process left, as the next one would; returns the number of entries."""
    registry = Registry(path)
    try:
        entries = registry.log.verify(signatures=False)
        with registry.database.read() as connection:
            named = named_files(connection)
            told = {
                action: _told(connection, action)
                for action in ("consent.recorded", "consent.revoked", "consent.erased")
            }
            count = sa.select(sa.func.count())
            told_of = count.select_from(audit).where(audit.c.action == "policy.set")
            given = count.select_from(orders).where(orders.c.kind == "policy")
            assert connection.scalar(told_of) == connection.scalar(given)
            done = {
                "consent.recorded": set(connection.scalars(sa.select(consents.c.id))),
                "consent.revoked": _when(connection, consents.c.revoked_at),
                "consent.erased": _when(connection, consents.c.erased_at),
            }
        assert registry.policies.in_force() == Policy()
        assert told == done  # no act without its entry, no entry without its act
        assert registry.vault.names() == named
        for record in registry.all():
            assert registry.vault.vouches(record.canonical(), record.signature)
        return entries
    finally:
        registry.close()


def _told(connection: sa.Connection, action: str) -> set[str]:
    query = sa.select(audit.c.consent_id).where(audit.c.action == action)
    return set(connection.scalars(query))


def _when(connection: sa.Connection, column: sa.ColumnElement[float]) -> set[str]:
    return set(connection.scalars(sa.select(consents.c.id).where(column.is_not(None))))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_killed_a_hundred_times_leaves_a_whole_registry(tmp_path: Path) -> None:
    path, picture = tmp_path / "consents.sqlite", png(photo(1, 64))
    image_fingerprint.fingerprint(picture)  # so that children need not import what it needs
    Registry(path).close()
    rng, entries = random.Random(9), 1
    for kill in range(KILLS):
        _kill_at_work(path, picture, kill, rng)
        now = check(path)
        assert now >= entries
        entries = now
    assert entries > KILLS


def _kill_at_work(path: Path, picture: bytes, seed: int, rng: random.Random) -> None:
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        gc.disable()  # codecs of other tests would wait for threads that are not here
        try:
            work(path, picture, seed, told)
        finally:
            os._exit(1)
    os.close(told)
    for _ in range(rng.randint(1, 8)):
        assert os.read(heard, 1), "the child ended by itself"
    time.sleep(rng.expovariate(1 / 0.01))  # the moment is what is tested
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(heard)


def test_what_a_kill_leaves_between_file_and_row_is_cleared_up(tmp_path: Path) -> None:
    path = tmp_path / "consents.sqlite"
    registry = Registry(path)
    child = os.fork()
    if child == 0:
        gc.disable()
        with registry.vault.writing():
            registry.vault.put(b"written, not yet named")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(registry.vault.names()) == 1
    registry.close()
    assert check(path) == 1
