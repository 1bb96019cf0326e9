"""What somebody with the database, and without the operator's key, cannot bring about."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.consent import Outcome
from pipeline.consent.chain import Entry
from pipeline.consent.records import sha256_of
from pipeline.consent.schema import audit, consents, denials, overrides
from pipeline.errors import (
    AuditBroken,
    ConsentDenied,
    ConsentPictureTaken,
    ConsentRevoked,
    ConsentTampered,
)
from tests.pipeline.consent.conftest import Office, Opened, photo, png


def change(office: Office, *statements: sa.sql.Executable) -> None:
    with office.registry.database.write() as connection:
        for statement in statements:
            connection.execute(statement)
        office.registry.database.bump(connection)


def test_a_revocation_cannot_be_taken_back(office: Office) -> None:
    record = office.write()
    grant = office.ask(record)
    office.registry.revoke(record.id)
    change(office, consents.update().values(revoked_at=None))
    for ask in (grant.check, lambda: office.ask(record)):
        with pytest.raises(ConsentTampered, match="was revoked"):
            ask()


def test_an_override_that_nobody_granted_lifts_nothing(office: Office) -> None:
    office.registry.denials.add("Ada Example")
    record = office.verified()
    row = {"consent_id": record.id, "reason": "mine", "actor": "eve", "granted_at": 1.0}
    change(office, overrides.insert().values(row))
    with pytest.raises(ConsentDenied):
        office.ask(record)
    last = list(office.registry.log.entries())[-1]
    unsigned = Entry(last.seq + 1, 1, "eve", "override.granted", record.id, "", "", "{}", last.hash)
    forged = replace(unsigned, hash=unsigned.reckoned(), signature="00" * 64)
    entry = {column.name: getattr(forged, column.name) for column in audit.c}
    change(office, audit.insert().values(entry))
    with pytest.raises(AuditBroken, match="did not sign"):
        office.ask(record)


def test_an_override_that_was_withdrawn_stays_withdrawn(office: Office) -> None:
    office.registry.denials.add("Ada Example")
    record = office.verified()
    office.registry.override(record.id, "identity card seen")
    office.ask(record)
    office.registry.denials.withdraw(record.id)
    row = {"consent_id": record.id, "reason": "again", "actor": "eve", "granted_at": 1.0}
    change(office, overrides.insert().values(row))
    with pytest.raises(ConsentDenied):
        office.ask(record)
    office.registry.override(record.id, "seen again")
    office.ask(record).check()


@pytest.mark.parametrize(
    "act",
    [
        denials.delete().where(denials.c.name == "Ada Example"),
        denials.update().where(denials.c.name == "Ada Example").values(removed_at=1.0),
        denials.delete().where(denials.c.id == "d-barack-obama"),
    ],
)
def test_a_protection_that_is_taken_away_stops_grants(
    office: Office, act: sa.sql.Executable
) -> None:
    record = office.verified()
    office.ask(record)
    office.registry.denials.add("Ada Example")
    change(office, act)
    with pytest.raises(ConsentTampered, match="was removed in the database"):
        office.ask(record)


@pytest.mark.parametrize("values", [{"name": "Eve"}, {"fingerprint": None}, {"face": b"x"}])
def test_a_protection_that_is_changed_stops_pictures_from_being_enrolled(
    office: Office, values: dict[str, object]
) -> None:
    other = png(photo(2))
    draft = replace(office.draft(), image_sha256=sha256_of(other), fingerprint=b"")
    added = office.registry.denials.add("Somebody Else", picture=png(photo(1)))
    change(office, denials.update().where(denials.c.id == added.id).values(**values))
    with pytest.raises(ConsentTampered, match=f"{added.id} was changed"):
        office.registry.add(draft, picture=other)
    office.registry.denials.remove(added.id)
    office.registry.denials.add("Somebody Else", picture=png(photo(1)))
    office.registry.add(draft, picture=other)


def test_protections_of_an_older_release_are_entered_into_the_log_once(office: Office) -> None:
    facts = office.registry.log.ledger.facts
    whole = dict(facts.protections)
    facts.protections.clear()
    facts.protected_told = False
    office.registry.denials.vouch()
    office.registry.denials.vouch()
    assert facts.protections == whole and "d-barack-obama" in whole
    assert [e.action for e in office.registry.log.entries()].count("denial.kept") == 1


@pytest.mark.parametrize("values", [{"subject": "Eve"}, {"signature": b"", "fingerprint": b""}])
def test_a_changed_record_is_not_signed_anew(office: Office, values: dict[str, object]) -> None:
    picture = png(photo(1))
    draft = replace(office.draft(), image_sha256=sha256_of(picture), fingerprint=b"")
    record = office.registry.add(draft, picture=picture)
    change(office, consents.update().values(**values))
    passed = {"face": Outcome.PASSED}
    acts: list[Callable[[], object]] = [
        lambda: office.registry.verify(record.id, passed, "an operator in good faith"),
        lambda: office.registry.complete(record.id, picture=picture, adult=True),
    ]
    for act in acts:
        with pytest.raises(ConsentTampered):
            act()


def test_two_who_check_one_record_do_not_undo_each_other(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = office.write()
    real = office.registry._writer._signed

    def meanwhile(after: object) -> object:
        monkeypatch.undo()
        office.registry.verify(record.id, {"face": Outcome.FAILED}, "the first")
        return real(after)  # type: ignore[arg-type]

    monkeypatch.setattr(office.registry._writer, "_signed", meanwhile)
    with pytest.raises(ConsentRevoked, match="changed meanwhile"):
        office.registry.verify(record.id, {"voice": Outcome.PASSED}, "the second")
    assert office.registry.get(record.id).checks.face is Outcome.FAILED


def test_of_two_copies_at_one_moment_the_second_is_refused(
    opened: Opened, where: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = opened(where)
    real, drafts = office.registry.denials.compared, []
    for name, image in (("Ada Example", photo(1)), ("Eve Other", photo(1).resize((300, 300)))):
        picture = png(image)
        digest = sha256_of(picture)
        draft = replace(office.draft(), subject=name, image_sha256=digest, fingerprint=b"")
        drafts.append((draft, picture))
    (first, hers), (second, theirs) = drafts

    def meanwhile(*given: object) -> object:
        found = real(*given)  # type: ignore[arg-type]
        monkeypatch.undo()
        office.registry.add(first, picture=hers)
        return found

    monkeypatch.setattr(office.registry.denials, "compared", meanwhile)
    copy = office.registry.add(replace(second, id="c-copy"), picture=theirs)
    with pytest.raises(ConsentPictureTaken):
        office.ask(copy)
    office.ask(office.registry.get(first.id)).check()


def test_acts_of_every_kind_go_on_beside_one_another(opened: Opened, where: Path | str) -> None:
    office, failed = opened(where), list[BaseException]()
    registry = office.registry

    def consents_come_and_go() -> None:
        for _ in range(8):
            registry.revoke(office.write().id)

    def people_are_protected() -> None:
        for turn in range(8):
            registry.denials.remove(registry.denials.add(f"Somebody Number {turn}").id)

    def policies_are_set() -> None:
        for _ in range(8):
            registry.policies.set(registry.policies.in_force())

    def challenges_are_issued() -> None:
        for _ in range(8):
            office.verified()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as failure:
                failed.append(failure)

        return run

    works = (consents_come_and_go, people_are_protected, policies_are_set, challenges_are_issued)
    threads = [threading.Thread(target=guarded(work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and registry.log.verify() > 8 * 8
