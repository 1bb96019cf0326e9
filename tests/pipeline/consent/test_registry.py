"""Records, evidence, challenges, revocation and erasure: the same in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.consent import Outcome, Registry
from pipeline.consent.database import _MIGRATIONS, HEAD
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.policy import Policy
from pipeline.consent.records import sha256_of
from pipeline.consent.schema import metadata
from pipeline.errors import (
    ChallengeInvalid,
    ConsentError,
    ConsentIncomplete,
    ConsentInvalid,
    ConsentMismatch,
    ConsentRevoked,
    ConsentTampered,
    EvidenceInvalid,
    RegistryUnavailable,
)
from tests.pipeline.consent.conftest import Clock, Office, Opened, photo, png


def test_a_record_keeps_every_field_in_either_database(opened: Opened, where: Path | str) -> None:
    office = opened(where)
    code = office.registry.challenges.issue("Ada Example", actor="test").code
    record = replace(
        office.draft(),
        challenge=code,
        birth_year=1980,
        territory="DE,AT",
        captured_at=office.clock.now - 60,
        expires_at=office.clock.now + 1e6,
    )
    kept = office.registry.add(record, evidence=b"a recording")
    assert kept == replace(record, evidence_sha256=sha256_of(b"a recording"))
    assert office.registry.vault.vouches(kept.canonical(), kept.signature)
    assert office.registry.evidence(kept.id) == b"a recording"
    office.registry.policies.set(Policy(territory="AT"))
    office.ask(kept).check()
    changed = office.registry.verify(kept.id, {"face": Outcome.PASSED}, "by eye")
    assert changed.checks.face is Outcome.PASSED and changed.verified_by == "by eye"
    assert office.registry.vault.vouches(changed.canonical(), changed.signature)
    office.registry.revoke(kept.id)
    with pytest.raises(ConsentRevoked):
        office.ask(kept)
    assert office.registry.evidence(kept.id) is None
    assert office.registry.log.verify() == len(list(office.registry.log.entries()))


def test_two_registries_of_one_database_see_each_other(opened: Opened, where: Path | str) -> None:
    here, elsewhere = opened(where), opened(where)
    record = here.write()
    grant = here.ask(record)
    grant.check()
    elsewhere.registry.revoke(record.id)
    here.registry.database.refresh()
    with pytest.raises(ConsentRevoked):
        grant.check()
    assert here.registry.log.verify() > 0


def test_the_migrations_make_exactly_the_tables_that_the_code_expects(
    opened: Opened, where: Path | str
) -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(_MIGRATIONS)).get_current_head() == HEAD
    office = opened(where)
    with office.registry.database.read() as connection:
        found = sa.inspect(connection)
        for table in metadata.sorted_tables:
            columns = {c["name"]: c["nullable"] for c in found.get_columns(table.name)}
            assert columns == {c.name: c.nullable for c in table.columns}, table.name


def test_evidence_is_encrypted_and_readable_by_the_owner_alone(office: Office) -> None:
    office.registry.add(office.draft(), evidence=b"her own words" * 10)
    vault = office.registry.vault
    (blob,) = (vault.blobs / name for name in vault.names())
    assert b"her own words" not in blob.read_bytes()
    private = (blob, vault.folder / "operator.pem", vault.folder / "evidence.key")
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def test_altered_missing_and_foreign_evidence_is_refused(office: Office, tmp_path: Path) -> None:
    record = office.registry.add(office.draft(), evidence=b"a recording")
    (name,) = office.registry.vault.names()
    path = office.registry.vault.blobs / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(EvidenceInvalid, match="altered"):
        office.registry.evidence(record.id)
    path.unlink()
    with pytest.raises(EvidenceInvalid, match="missing"):
        office.registry.evidence(record.id)


def test_an_evidence_key_can_be_named(opened: Opened, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("c2hvcnQ=")
    with pytest.raises(RegistryUnavailable, match="32 bytes"):
        opened(evidence_key=key)


@pytest.mark.parametrize("field", ["subject", "statement", "scopes", "expires_at", "adult"])
def test_a_record_that_was_changed_in_the_database_is_refused(office: Office, field: str) -> None:
    record = office.write(scopes=frozenset({"live"}), adult=True)
    grant = office.ask(record)
    office.registry.close()
    other = {"scopes": "live recording", "expires_at": 4e9, "adult": 0}.get(field, "somebody else")
    with sqlite3.connect(office.registry.path) as db:
        db.execute(f"UPDATE consent_records SET {field} = ?", (other,))
    db.close()
    again = Office(Registry(office.registry.path, office.clock), office.clock)
    with pytest.raises(ConsentTampered):
        again.ask(record)
    again.registry.close()
    with pytest.raises(ConsentError):
        grant.check()


def test_a_challenge_is_good_once_for_its_subject_and_for_its_time(office: Office) -> None:
    issue = office.registry.challenges.issue
    code = issue("Ada Example", actor="test").code
    with pytest.raises(ChallengeInvalid, match="issued to"):
        office.write(challenge=code, subject="Eve")
    office.write(challenge=code)
    with pytest.raises(ChallengeInvalid, match="was used"):
        office.write(challenge=code)
    with pytest.raises(ChallengeInvalid, match="not issued"):
        office.write(challenge="made-up")
    late = issue("Ada Example", actor="test", lifetime_s=60).code
    office.clock.now += 61
    with pytest.raises(ChallengeInvalid, match="expired"):
        office.write(challenge=late)
    assert len(office.registry.all()) == 1


def test_a_refused_record_leaves_no_evidence_behind(office: Office) -> None:
    with pytest.raises(ChallengeInvalid):
        office.registry.add(replace(office.draft(), challenge="made-up"), evidence=b"a recording")
    assert office.registry.vault.names() == set()


def test_a_record_is_bound_to_the_picture_that_it_comes_with(office: Office) -> None:
    picture = png(photo(1))
    draft = replace(office.draft(), image_sha256=sha256_of(picture), fingerprint=b"")
    with pytest.raises(ConsentMismatch):
        office.registry.add(draft, picture=png(photo(2)))
    text = replace(office.draft(), image_sha256=sha256_of(b"text"))
    with pytest.raises(ConsentInvalid, match="cannot be read"):
        office.registry.add(text, picture=b"text")
    assert len(office.registry.add(draft, picture=picture).fingerprint) > 1000


def test_revoking_erases_evidence_picture_and_landmarks_and_keeps_the_log(office: Office) -> None:
    record = office.registry.add(office.draft(), evidence=b"a recording")
    picture = png(photo(1))
    office.registry.enrolments.add(
        "ada", picture=picture, landmarks=b"{}", consent_id=record.id, actor="test"
    )
    assert len(office.registry.vault.names()) == 3
    office.registry.revoke(record.id, reason="she asked")
    assert office.registry.vault.names() == set()
    assert office.registry.enrolments.all() == []
    assert office.registry.get(record.id).erased_at is not None
    wanted = ["consent.recorded", "avatar.enrolled", "consent.revoked", "consent.erased"]
    assert office.actions() == wanted


def test_nobody_is_enrolled_whose_consent_was_revoked_meanwhile(office: Office) -> None:
    picture = png(photo(1))
    record = office.write(picture)
    office.ask(record).check()
    office.registry.revoke(record.id)
    with pytest.raises(ConsentRevoked):
        office.registry.enrolments.add(
            "ada", picture=picture, landmarks=b"{}", consent_id=record.id
        )
    assert office.registry.vault.names() == set() and office.registry.enrolments.all() == []


def test_a_revocation_ends_what_runs_before_anything_is_erased(opened: Opened) -> None:
    office = opened(retention_s=100.0)
    record = office.write()
    grant, before = office.ask(record), office.registry.database.revision()
    grant.check()
    office.registry.revoke(record.id)
    assert office.registry.database.revision() > before
    assert office.registry.get(record.id).erased_at is None
    with pytest.raises(ConsentRevoked):
        grant.check()


def test_a_retention_keeps_evidence_for_its_time_and_no_longer(opened: Opened) -> None:
    office = opened(retention_s=100.0)
    record = office.registry.add(office.draft(), evidence=b"a recording")
    office.registry.revoke(record.id)
    assert office.registry.evidence(record.id) == b"a recording"
    office.clock.now += 99
    assert office.registry.erase_due() == []
    office.clock.now += 2
    assert office.registry.erase_due() == [record.id]
    assert office.registry.evidence(record.id) is None and office.registry.erase_due() == []


def test_a_revoked_record_cannot_be_verified_or_completed(office: Office) -> None:
    record = office.write()
    office.registry.revoke(record.id)
    with pytest.raises(ConsentRevoked):
        office.registry.verify(record.id, {"face": Outcome.PASSED}, "somebody")
    with pytest.raises(ConsentRevoked):
        office.registry.complete(record.id, picture=b"a picture", adult=True)


def test_files_that_no_record_names_are_swept_when_the_registry_opens(office: Office) -> None:
    kept = office.registry.add(office.draft(), evidence=b"a recording")
    vault = office.registry.vault
    (vault.blobs / "orphan").write_bytes(b"left behind")
    (vault.blobs / "half.part").write_bytes(b"left behind")
    again = Registry(office.registry.path, office.clock)
    assert len(again.vault.names()) == 1 and again.evidence(kept.id) == b"a recording"
    again.close()


def test_nothing_is_swept_while_somebody_writes(office: Office) -> None:
    with office.registry.vault.writing():
        office.registry.vault.put(b"not committed yet")
        Registry(office.registry.path, office.clock).close()
        assert len(office.registry.vault.names()) == 1


def old_registry(path: Path) -> None:
    """A file as the first releases wrote it: one person's record, one revoked, two bundled."""
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE consents (id TEXT PRIMARY KEY, subject TEXT, kind TEXT, statement TEXT,"
            " image_sha256 TEXT, scopes TEXT, verified_by TEXT, created_at REAL, expires_at REAL,"
            " revoked_at REAL)"
        )
        db.execute("PRAGMA user_version = 1")
        row = ("yes", "live recording", "operator", 1.79e9, None)
        for name, kind, revoked in (
            ("c-old", "self", None),
            ("c-gone", "self", 1.795e9),
            ("bundled-mira-1", "synthetic", None),
            ("bundled-omar-1", "synthetic", 1.795e9),
        ):
            digest = sha256_of(png(photo(1)))
            values = (name, "Ada", kind, row[0], digest, *row[1:], revoked)
            db.execute("INSERT INTO consents VALUES (?,?,?,?,?,?,?,?,?,?)", values)
    db.close()


def test_a_registry_of_an_older_release_is_adopted_and_its_records_completed(
    tmp_path: Path,
) -> None:
    old_registry(tmp_path / "old.sqlite")
    clock = Clock()
    office = Office(Registry(tmp_path / "old.sqlite", clock), clock)
    found = {record.id: record for record in office.registry.all()}
    assert set(found) == {"c-old", "c-gone", "bundled-omar-1"}
    assert found["c-gone"].revoked_at == found["bundled-omar-1"].revoked_at == 1.795e9
    with pytest.raises(ConsentIncomplete, match="continuum consent complete"):
        office.ask(found["c-old"])
    office.registry.complete("c-old", picture=png(photo(1)), adult=True)
    office.ask(found["c-old"]).check()
    assert office.actions()[0] == "registry.migrated"
    office.registry.close()
    with sqlite3.connect(tmp_path / "old.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_a_registry_of_a_newer_release_is_left_alone(office: Office) -> None:
    office.registry.close()
    with sqlite3.connect(office.registry.path) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    with pytest.raises(RegistryUnavailable, match="9999"):
        Registry(office.registry.path)


def test_the_clock_of_the_registry_never_runs_backwards(office: Office) -> None:
    record = office.write(expires_at=office.clock.now + 100)
    office.clock.now += 101
    with pytest.raises(ConsentError):
        office.ask(record)
    office.clock.now -= 1000
    with pytest.raises(ConsentError):
        office.ask(record)


def test_a_place_that_is_no_registry_says_so() -> None:
    for where in ("mysql://nobody@nowhere/x", "postgresql://nobody:secret@127.0.0.1:1/x"):
        with pytest.raises(RegistryUnavailable) as told:
            Registry(where)
        assert "secret" not in str(told.value)


def test_a_plain_picture_is_like_no_other(office: Office) -> None:
    office.write()
    other = office.write(picture=b"another", subject="Eve Other", fingerprint=PLAIN)
    assert office.registry.denials.alike(other.id) == []
