"""The audit log: append-only, and nothing of it can be changed without being found."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.consent import Registry
from pipeline.consent.audit import Filter
from pipeline.consent.chain import Break, Entry, first_break, walked
from pipeline.consent.schema import audit
from pipeline.errors import AuditBroken, ConsentError, RegistryUnavailable
from tests.pipeline.consent.conftest import Clock, Office, Opened

ENTRIES = 10_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, list[Entry]]]:
    registry = Registry(tmp_path_factory.mktemp("audit") / "r.sqlite", Clock())
    with registry.database.write() as connection:
        while (
            registry.log.append(
                connection, "test.entry", actor="ä tester", avatar="mira", number=1.5, text="“ok”"
            ).seq
            < ENTRIES
        ):
            pass
    yield registry, list(registry.log.entries())
    registry.close()


def flipped(entry: Entry, rng: random.Random) -> Entry:
    """The entry with one bit of one byte of one field changed."""
    name = rng.choice([item.name for item in fields(entry) if getattr(entry, item.name) != ""])
    value = getattr(entry, name)
    if isinstance(value, int):
        return replace(entry, **{name: value ^ (1 << rng.randrange(8))})
    raw = bytearray(value.encode())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return replace(entry, **{name: raw.decode("utf-8", "surrogateescape")})


def broken(entries: list[Entry], registry: Registry, before: Entry | None) -> Break | None:
    found = [c for c in walked(entries, registry.vault.vouches, before) if isinstance(c, Break)]
    return found[0] if found else None


def test_every_field_of_an_entry_is_in_its_hash() -> None:
    entry = Entry(2, 3, "actor", "action", "c-1", "ada", "s-1", "{}", "0" * 64)
    for item in fields(entry):
        value = getattr(entry, item.name)
        other = replace(entry, **{item.name: value + (1 if isinstance(value, int) else "x")})
        is_hashed = item.name not in ("hash", "signature")
        assert (other.reckoned() != entry.reckoned()) is is_hashed, item.name


def test_ten_thousand_entries_verify(log: tuple[Registry, list[Entry]]) -> None:
    registry, entries = log
    assert len(entries) == ENTRIES == registry.log.verify()
    assert first_break(entry.line() for entry in entries) is None


def test_a_flipped_bit_in_any_entry_is_found_there(log: tuple[Registry, list[Entry]]) -> None:
    registry, entries = log
    rng = random.Random(5)
    for i in range(ENTRIES):
        before, window = entries[i - 1] if i else None, entries[i : i + 2]
        found = broken([flipped(window[0], rng), *window[1:]], registry, before)
        assert found is not None and found.seq == i + 1, (i, found)


def test_a_removed_or_moved_entry_is_found(log: tuple[Registry, list[Entry]]) -> None:
    registry, entries = log
    for i in range(ENTRIES - 1):
        before = entries[i - 1] if i else None
        window = entries[i : i + 3]
        assert broken(window[1:], registry, before) is not None
        assert broken([window[1], window[0], *window[2:]], registry, before) is not None
        assert broken([window[0], *window], registry, before) is not None


def test_every_byte_of_an_exported_line_counts(log: tuple[Registry, list[Entry]]) -> None:
    _, entries = log
    lines = [entry.line() for entry in entries[:3]]
    raw = lines[1].encode()
    signature = lines[1].index('"signature":"')  # which needs the operator's key to be checked
    for at in range(len(lines[1][:signature].encode())):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            text = changed.decode("utf-8", "surrogateescape")
            assert first_break([lines[0], text, lines[2]]) is not None, (at, bit)


def test_an_attacker_who_reckons_all_hashes_anew_lacks_the_key(office: Office) -> None:
    for _ in range(3):
        office.write()
    entries = list(office.registry.log.entries())
    previous, forged = "", []
    for entry in entries:
        entry = replace(entry, actor="somebody else", previous=previous)
        previous = entry.reckoned()
        forged.append(replace(entry, hash=previous))
    found = broken(forged, office.registry, None)
    assert found == Break(1, "the operator did not sign it")


def tampered(office: Office, *statements: str) -> Registry:
    """Opens the registry again after somebody was at its file with more than our code."""
    office.registry.close()
    with sqlite3.connect(office.registry.path) as db:
        for act in ("update", "delete"):
            db.execute(f"DROP TRIGGER audit_no_{act}")
        for statement in statements:
            db.execute(statement)
    db.close()
    return Registry(office.registry.path, office.clock)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", "entry 3"),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 2", "entry 2"),
        ("DELETE FROM audit WHERE seq = 2", "entry 2"),
        ("DELETE FROM audit WHERE seq = 4", "ends with entry 3, it had 4"),
        ("UPDATE audit SET signature = replace(signature, 'a', 'b') WHERE seq = 3", "entry 3"),
        ("UPDATE registry_state SET value = '3:' || value WHERE name = 'audit'", "ends with"),
    ],
)
def test_whatever_is_done_to_the_file_is_found(office: Office, statement: str, says: str) -> None:
    for _ in range(3):
        office.write()
    registry = tampered(office, statement)
    with pytest.raises(AuditBroken, match=says):
        registry.log.verify()
    registry.close()


def test_a_cut_end_is_found_by_a_head_that_was_kept(office: Office) -> None:
    for _ in range(2):
        office.write()
    early = office.registry.log.head()
    office.write()
    kept, last = office.registry.log.head(), list(office.registry.log.entries())[-2]
    assert office.registry.log.verify(early) == office.registry.log.verify(kept) == 4
    registry = tampered(
        office,
        "DELETE FROM audit WHERE seq = 4",
        f"UPDATE registry_state SET value = '3:{last.hash}' WHERE name = 'audit'",
    )
    for head in ("", early, kept):
        with pytest.raises(AuditBroken, match="it had 4"):
            registry.log.verify(head)
    registry.log.ledger.kept.path.unlink()  # as somebody could who has the vault
    assert registry.log.verify(early) == 3
    with pytest.raises(AuditBroken, match="it had 4"):
        registry.log.verify(kept)
    registry.close()


def test_entries_are_never_changed_or_deleted(opened: Opened, where: Path | str) -> None:
    office = opened(where)
    office.write()
    for act in (audit.update().values(actor="nobody"), audit.delete()):
        with (
            pytest.raises(RegistryUnavailable, match="never changed"),
            office.registry.database.write() as connection,
        ):
            connection.execute(act)
    assert office.registry.log.verify() == 3


def test_an_act_that_fails_leaves_no_entry_and_an_entry_that_fails_no_act(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    with monkeypatch.context() as patched:
        patched.setattr(office.registry.log, "append", fails)
        with pytest.raises(RegistryUnavailable):
            office.write()
    assert office.registry.all() == [] and office.actions() == []


def test_writers_take_their_turns(opened: Opened, where: Path | str) -> None:
    office = opened(where)

    def work() -> None:
        for _ in range(5):
            office.write()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert office.registry.log.verify() == 22


def test_grants_and_refusals_are_told_with_their_reasons(office: Office) -> None:
    record = office.write()
    office.ask(record, session="s-1")
    with pytest.raises(ConsentError):
        office.ask(record, consent_id="c-none", session="s-2")
    issued, refused = list(office.registry.log.entries())[-2:]
    assert (issued.action, issued.session, issued.consent_id) == ("grant.issued", "s-1", record.id)
    assert refused.action == "grant.refused" and '"code":"consent_missing"' in refused.detail


def test_filters_choose_entries(office: Office) -> None:
    record = office.write()
    office.clock.now += 10
    office.ask(record, session="s-1")
    office.registry.revoke(record.id, actor="key 7")
    log = office.registry.log
    count = {
        name: len(list(log.entries(wanted)))
        for name, wanted in {
            "family": Filter(action="consent"),
            "action": Filter(action="grant.issued"),
            "actor": Filter(actor="key 7"),
            "session": Filter(session="s-1"),
            "since": Filter(since=office.clock.now, consent_id=record.id),
            "until": Filter(until=office.clock.now, consent_id=record.id),
            "none": Filter(action="con"),
        }.items()
    }
    expected = {"family": 3, "action": 1, "actor": 1, "session": 1, "since": 3, "until": 1}
    assert count == expected | {"none": 0}
    assert [e.action for e in log.entries(limit=2)] == ["consent.revoked", "consent.erased"]


def test_whatever_callers_send_can_be_written_and_verified(office: Office) -> None:
    for name in ("\0", "\ud800", "a" * 5000, "';--", "\N{PILE OF POO}"):
        with pytest.raises(ConsentError):
            office.ask(office.draft(), consent_id=name or None, avatar=name)
    assert office.registry.log.verify() == 6
    assert first_break(entry.line() for entry in office.registry.log.entries()) is None
