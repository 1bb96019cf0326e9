"""A registry that was rewound: entries or rows taken back, an older copy, a clock set back.

Whoever writes to the database, without the vault, brings none of it about unnoticed.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.consent import Kind, Outcome, Registry, RegistryOverrides, Scope
from pipeline.consent.policy import Demand, Policy
from pipeline.consent.records import ConsentRecord, sha256_of
from pipeline.errors import (
    AuditBroken,
    ConsentError,
    ConsentExpired,
    ConsentPictureTaken,
    ConsentTampered,
    ConsentUnverified,
)
from tests.pipeline.consent.conftest import Clock, Office, photo, png
from tests.pipeline.consent.test_active_policy import LIKENESSES

STRICT = Policy({scope: Demand(frozenset({"face"})) for scope in Scope})


def at_the_database(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What somebody does who has the file, and more than our code; the last answer."""
    with closing(sqlite3.connect(path)) as file, file:
        for act in ("update", "delete"):
            file.execute(f"DROP TRIGGER IF EXISTS audit_no_{act}")
        answers = [file.execute(statement).fetchall() for statement in statements]
    return answers[-1] if answers else []


def cut(path: Path, last: int) -> None:
    """Takes back all entries after ``last``, and mends what the registry knows of its end."""
    at_the_database(
        path,
        f"DELETE FROM audit WHERE seq > {last}",
        "UPDATE registry_state SET value = (SELECT seq || ':' || hash FROM audit"
        " ORDER BY seq DESC LIMIT 1) WHERE name = 'audit'",
        "UPDATE registry_state SET value = value + 1 WHERE name = 'revision'",
    )


@pytest.fixture
def opened_again() -> Iterator[list[Registry]]:
    made: list[Registry] = []
    yield made
    for registry in made:
        registry.close()


def again(office: Office, made: list[Registry], where: Path | None = None, **setup: Path) -> Office:
    """The registry as another process opens it, after this one was closed."""
    office.registry.close()
    made.append(Registry(where or office.registry.path, office.clock, RegistryOverrides(**setup)))
    return Office(made[-1], office.clock)


def count(office: Office) -> int:
    return len(list(office.registry.log.entries()))


# -- entries are taken back ----------------------------------------------------------------------


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "before it is opened"])
def test_a_policy_cannot_be_taken_back_with_its_entry(
    office: Office, opened_again: list[Registry], runs: bool
) -> None:
    record = office.write()
    before = count(office)
    office.registry.policies.set(STRICT)
    with pytest.raises(ConsentUnverified):
        office.ask(record)
    if not runs:
        office.registry.close()
    at_the_database(office.registry.path, "DELETE FROM orders")
    cut(office.registry.path, before)
    cheated = office if runs else again(office, opened_again)
    for act in (lambda: cheated.ask(record), cheated.write, cheated.registry.log.verify):
        with pytest.raises(AuditBroken, match=f"ends with entry {before}, it had"):
            act()
    assert cheated.registry.fault and cheated.registry.get(record.id) == record
    assert count(cheated) == before, "something was written after the end was cut off"


@pytest.mark.parametrize("entry", ["taken out", "changed"])
def test_a_revocation_cannot_be_taken_back_with_its_entry(
    office: Office, opened_again: list[Registry], entry: str
) -> None:
    record = office.write()
    office.registry.revoke(record.id)
    office.write(picture=b"somebody else's", subject="Eve Other")
    act = {
        "taken out": "DELETE FROM audit WHERE action = 'consent.revoked'",
        "changed": "UPDATE audit SET action = 'test' WHERE action = 'consent.revoked'",
    }[entry]
    back = "UPDATE consent_records SET revoked_at = NULL, erased_at = NULL"
    at_the_database(office.registry.path, act, back)
    with pytest.raises(ConsentError):
        office.ask(record)
    with pytest.raises((AuditBroken, ConsentTampered)):
        again(office, opened_again).ask(record)


def test_running_grants_end_when_the_log_was_cut(office: Office) -> None:
    record = office.write()
    grant = office.ask(record)
    cut(office.registry.path, count(office) - 1)
    with pytest.raises(AuditBroken):
        grant.check()


def test_the_kept_head_only_grows(office: Office) -> None:
    office.write()
    kept = office.registry.log.ledger.kept
    newest = kept.read()
    first = next(office.registry.log.entries())
    assert newest is not None and newest.seq == count(office)
    kept.grow(type(newest).of(first))
    assert kept.read() == newest


def test_a_kept_head_that_the_operator_did_not_sign_is_refused(office: Office) -> None:
    record = office.write()
    path = office.registry.log.ledger.kept.path
    path.write_bytes(path.read_bytes().replace(b":", b";", 1))
    for act in (lambda: office.ask(record), office.write):
        with pytest.raises(AuditBroken, match="move this file away"):
            act()
    path.unlink()
    office.ask(office.write()).check()
    assert path.exists()


def test_an_act_that_is_taken_back_leaves_head_and_facts_as_they_were(office: Office) -> None:
    office.write()
    ledger = office.registry.log.ledger
    kept, facts = ledger.kept.read(), ledger.follow().seq
    with pytest.raises(ZeroDivisionError), office.registry.database.write() as connection:
        for _ in range(3):
            office.registry.log.append(connection, "test", actor="test")
        _ = 1 / 0
    assert (ledger.kept.read(), ledger.follow().seq) == (kept, facts)
    office.write()
    assert office.registry.log.verify() == facts + 1


def test_a_registry_that_kept_no_head_yet_keeps_one_when_it_is_opened(
    office: Office, opened_again: list[Registry]
) -> None:
    office.write()
    shutil.rmtree(office.registry.vault.folder / "heads")
    later = again(office, opened_again)
    kept = later.registry.log.ledger.kept.read()
    assert kept is not None and kept.seq == count(later)
    cut(later.registry.path, 1)
    with pytest.raises(AuditBroken):
        later.write()


# -- rows are taken back -------------------------------------------------------------------------


def enrolled(office: Office, image: bytes, **changes: object) -> ConsentRecord:
    draft = replace(office.draft(), image_sha256=sha256_of(image), fingerprint=b"")
    return office.registry.add(replace(draft, **changes), picture=image)  # type: ignore[arg-type]


def copied(office: Office) -> tuple[ConsentRecord, ConsentRecord]:
    """Ada's picture, and a copy of it that Eve brings."""
    image = photo(1)
    ada = enrolled(office, png(image))
    eve = enrolled(office, png(image.resize((300, 300))), subject="Eve Other", id="c-eve")
    with pytest.raises(ConsentPictureTaken):
        office.ask(eve)
    return ada, eve


def test_what_a_picture_is_like_stands_in_no_row_that_could_be_deleted(
    office: Office, opened_again: list[Registry]
) -> None:
    _, eve = copied(office)
    later = again(office, opened_again)
    tables = at_the_database(
        later.registry.path, "SELECT name FROM sqlite_master WHERE type = 'table'"
    )
    assert ("likenesses",) not in tables
    with pytest.raises(ConsentPictureTaken):
        later.ask(eve)


@pytest.mark.parametrize(
    "act",
    [
        "DELETE FROM consent_records WHERE subject = 'Ada Example'",
        "UPDATE consent_records SET fingerprint = x'00' WHERE subject = 'Ada Example'",
        "UPDATE consent_records SET subject = 'Eve Other'",
        "UPDATE consent_records SET kind = 'nobody'",
    ],
    ids=["deleted", "blinded", "renamed", "damaged"],
)
def test_a_copy_does_not_pass_because_the_original_was_tampered_with(
    office: Office, act: str
) -> None:
    image = photo(1)
    enrolled(office, png(image))
    at_the_database(office.registry.path, act)
    with pytest.raises(ConsentTampered):
        enrolled(office, png(image.resize((300, 300))), subject="Eve Other", id="c-eve")
    assert "c-eve" not in {record.id for record in office.registry.all()}


def test_a_record_without_its_fingerprint_does_not_stand(office: Office) -> None:
    record = enrolled(office, png(photo(1)))
    bump = "UPDATE registry_state SET value = value + 1 WHERE name = 'revision'"
    at_the_database(office.registry.path, "UPDATE consent_records SET fingerprint = x''", bump)
    with pytest.raises(ConsentTampered):
        office.ask(record)


def test_a_record_whose_signature_was_replaced_does_not_stand(office: Office) -> None:
    record = office.write()
    at_the_database(
        office.registry.path,
        "UPDATE consent_records SET signature = zeroblob(64)",
        "UPDATE registry_state SET value = value + 1 WHERE name = 'revision'",
    )
    with pytest.raises(ConsentTampered, match="not what the operator signed"):
        office.ask(record)


def test_an_older_form_of_a_record_does_not_stand(
    office: Office, opened_again: list[Registry]
) -> None:
    record = office.write()
    ((checks, signature),) = at_the_database(
        office.registry.path, "SELECT checks, hex(signature) FROM consent_records"
    )
    office.registry.verify(record.id, {"face": Outcome.FAILED}, "operator")
    back = f"UPDATE consent_records SET checks = '{checks}', signature = x'{signature}'"
    at_the_database(office.registry.path, back)
    with pytest.raises(ConsentTampered, match="newest entry in the audit log"):
        again(office, opened_again).ask(record)


def test_a_record_of_which_no_log_tells_does_not_stand(
    office: Office, tmp_path: Path, opened_again: list[Registry]
) -> None:
    record = office.write()
    before = count(office)
    shutil.copytree(office.registry.vault.folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "heads")
    office.registry.log.record("test", actor="test")
    office.registry.close()
    cut(office.registry.path, before - 1)
    later = again(office, opened_again, vault=tmp_path / "copy")
    with pytest.raises(ConsentTampered, match="newest entry in the audit log"):
        later.ask(record)


@pytest.mark.parametrize(
    "damage",
    [
        "kind = 'hologram'", "scopes = 'live telepathy'", "checks = '{'", "checks = '[1]'",
        "checks = '{\"aura\": \"passed\"}'", "scopes = ''", "subject = ''", "created_at = 9e99",
        "created_at = 'yesterday'", "territory = 'nowhere'", "fingerprint = 7",
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_does_not_stand_and_hides_no_other(
    office: Office, opened_again: list[Registry], damage: str
) -> None:
    whole, record = office.write(picture=b"whole", subject="Eve Other"), office.write()
    grant = office.ask(record)
    at_the_database(
        office.registry.path,
        f"UPDATE consent_records SET {damage} WHERE id = '{record.id}'",
        "UPDATE registry_state SET value = value + 1 WHERE name = 'revision'",
    )
    later = again(Office(Registry(office.registry.path), office.clock), opened_again)
    for ask in (
        grant.check,
        lambda: office.ask(record),
        lambda: office.registry.get(record.id),
        lambda: later.ask(record),
    ):
        with pytest.raises(ConsentTampered, match=record.id):
            ask()
    assert office.registry.all() == [whole]
    office.ask(whole).check()
    office.registry.revoke(whole.id)


# -- the clock is set back -----------------------------------------------------------------------


def test_an_expired_consent_stays_expired_over_a_restart(
    office: Office, opened_again: list[Registry]
) -> None:
    record = office.write(expires_at=office.clock.now + 100)
    office.clock.now += 101
    with pytest.raises(ConsentExpired):
        office.ask(record)
    office.clock.now -= 1000
    later = again(office, opened_again)
    with pytest.raises(ConsentExpired):
        later.ask(record)
    assert later.registry.clock() >= office.clock.now + 1000


def test_the_time_of_another_process_is_known_here(office: Office) -> None:
    record = office.write(expires_at=office.clock.now + 100)
    ahead = Clock()
    ahead.now += 200
    elsewhere = Registry(office.registry.path, ahead)
    elsewhere.log.record("test", actor="test")
    elsewhere.close()
    with pytest.raises(ConsentExpired):
        office.ask(record)


# -- a copy beside the same vault ----------------------------------------------------------------


@pytest.mark.parametrize("age", ["an old copy", "a copy of now"])
@pytest.mark.parametrize("named", [True, False], ids=["vault named", "vault remembered"])
def test_a_copy_erases_nothing_and_says_that_it_may_only_be_read(
    tmp_path: Path, opened_again: list[Registry], age: str, named: bool, caplog: object
) -> None:
    path, clock, vault = tmp_path / "live.sqlite", Clock(), {"vault": tmp_path / "vault"}
    live = Office(Registry(path, clock, RegistryOverrides(**vault)), clock)
    opened_again.append(live.registry)
    first = live.registry.add(live.draft(), evidence=b"a recording")
    if age == "an old copy":
        with closing(sqlite3.connect(path)) as file:
            file.execute(f"VACUUM INTO '{tmp_path / 'copy.sqlite'}'")
    later = live.registry.add(replace(live.draft(), id="c-later"), evidence=b"another")
    if age != "an old copy":
        with closing(sqlite3.connect(path)) as file:
            file.execute(f"VACUUM INTO '{tmp_path / 'copy.sqlite'}'")
    copy = Office(
        Registry(tmp_path / "copy.sqlite", clock, RegistryOverrides(**vault if named else {})),
        clock,
    )
    opened_again.append(copy.registry)
    assert "read-only" in copy.registry.fault
    assert copy.registry.get(first.id) == first and copy.registry.evidence(first.id)
    for act in (
        copy.write,
        lambda: copy.ask(first),
        lambda: copy.registry.revoke(first.id),
        lambda: copy.registry.policies.set(STRICT),
        lambda: copy.registry.challenges.issue("Ada", actor="test"),
    ):
        with pytest.raises(AuditBroken):
            act()
    assert live.registry.evidence(first.id) == b"a recording"
    assert live.registry.evidence(later.id) == b"another"
    live.ask(later).check()
    assert live.registry.fault == "" and live.registry.log.verify() == count(live)


def test_a_registry_that_was_moved_is_no_copy(
    office: Office, tmp_path: Path, opened_again: list[Registry]
) -> None:
    record, vault = office.write(), office.registry.vault.folder
    office.registry.close()
    moved = tmp_path / "elsewhere" / "moved.sqlite"
    moved.parent.mkdir()
    shutil.move(office.registry.path, moved)
    later = again(office, opened_again, moved, vault=vault)
    later.ask(record).check()
    assert later.registry.fault == ""


def test_files_are_not_swept_by_who_cannot_know_whether_it_is_a_copy(
    office: Office, opened_again: list[Registry]
) -> None:
    kept = office.registry.add(office.draft(), evidence=b"a recording")
    old = office.registry.path.with_name("old.sqlite")
    with closing(sqlite3.connect(office.registry.path)) as file:
        file.execute(f"VACUUM INTO '{old}'")
    later = office.registry.add(replace(office.draft(), id="c-later"), evidence=b"another")
    vault = office.registry.vault.folder
    shutil.rmtree(vault / "heads")  # as older releases, which kept no head, leave it
    again(office, opened_again, old, vault=vault)
    live = again(office, opened_again)
    assert live.registry.evidence(later.id) == b"another" and live.registry.evidence(kept.id)


# -- registries of before ------------------------------------------------------------------------


def test_likenesses_of_the_release_before_are_entered_into_the_log(
    office: Office, opened_again: list[Registry]
) -> None:
    eve = enrolled(office, png(photo(2)), subject="Eve Other", id="c-eve")
    ada = enrolled(office, png(photo(1)))
    office.ask(eve).check()
    office.registry.close()
    at_the_database(
        office.registry.path,
        LIKENESSES,
        f"INSERT INTO likenesses VALUES ('c-eve', '{ada.id}', 'picture', 40.0)",
        "UPDATE alembic_version SET version_num = '0002'",
    )
    for _ in range(2):
        later = again(office, opened_again)
        with pytest.raises(ConsentPictureTaken, match=ada.id):
            later.ask(eve)
        later.ask(ada).check()
    told = [entry.action for entry in later.registry.log.entries()]
    assert told.count("likeness.kept") == 1 == told.count("registry.migrated")
    assert later.registry.log.verify() == count(later)
    assert later.registry.get("c-eve").kind is Kind.SELF
