"""Consent: who may be spoken through, who may not, and that nobody mints a grant but the gate."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path

import pytest

from pipeline.consent import ConsentGate, ConsentGrant, ConsentRecord, Kind, Registry, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.registry import new_record, sha256_of
from pipeline.consent.validator import RecordValidator
from pipeline.errors import (
    AvatarDamaged,
    ConsentError,
    ConsentExpired,
    ConsentInvalid,
    ConsentMismatch,
    ConsentMissing,
    ConsentRevoked,
    ConsentScopeDenied,
    GrantExpired,
    GrantForged,
    RegistryUnavailable,
)

PICTURE = sha256_of(b"a picture")
OTHER = sha256_of(b"another picture")


class Clock:
    """Wall-clock seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class BundledAvatar:
    record: ConsentRecord
    picture_sha256: str = PICTURE
    name: str = "mira"

    def image_sha256(self) -> str:
        return self.picture_sha256

    def picture(self) -> bytes:
        return b"a picture"

    def consent(self) -> ConsentRecord:
        return self.record


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[Registry]:
    registry = Registry(tmp_path / "deep" / "consents.sqlite", clock)
    yield registry
    registry.close()


def write(registry: Registry, **changes: object) -> ConsentRecord:
    record = new_record(
        subject="Ada",
        kind=Kind.SELF,
        statement="I agree to be rendered.",
        image_sha256=PICTURE,
        now=registry.clock(),
        adult=True,
        fingerprint=PLAIN,
    )
    return registry.add(replace(record, **changes))  # type: ignore[arg-type]


def ask(registry: Registry, consent_id: str | None, **changes: object) -> ConsentGrant:
    request = {"avatar": "ada", "image_sha256": PICTURE, "scope": Scope.RECORDING} | changes
    return ConsentGate(registry).grant(consent_id=consent_id, **request)  # type: ignore[arg-type]


def test_a_live_matching_record_yields_a_grant_that_holds(registry: Registry) -> None:
    grant = ask(registry, write(registry).id)
    grant.check(image_sha256=PICTURE, scope=Scope.RECORDING)
    assert (grant.avatar, grant.scope) == ("ada", Scope.RECORDING)


def test_without_a_record_there_is_no_grant(registry: Registry) -> None:
    write(registry)
    for missing in (None, "", "c-0000000000000000"):
        with pytest.raises(ConsentMissing):
            ask(registry, missing)


def test_a_record_serves_its_own_picture_only(registry: Registry) -> None:
    with pytest.raises(ConsentMismatch):
        ask(registry, write(registry).id, image_sha256=OTHER)


def test_a_record_serves_its_own_scopes_only(registry: Registry) -> None:
    record = write(registry, scopes=frozenset({Scope.LIVE}))
    ask(registry, record.id, scope=Scope.LIVE)
    with pytest.raises(ConsentScopeDenied):
        ask(registry, record.id, scope=Scope.RECORDING)


def test_an_expired_record_yields_no_grant(registry: Registry, clock: Clock) -> None:
    record = write(registry, expires_at=clock.now + 10)
    clock.now += 10
    with pytest.raises(ConsentExpired):
        ask(registry, record.id)


def test_a_grant_ends_when_its_record_expires(registry: Registry, clock: Clock) -> None:
    grant = ask(registry, write(registry, expires_at=clock.now + 10).id)
    clock.now += 10
    with pytest.raises(GrantExpired):
        grant.check()


def test_a_grant_without_end_still_runs_out(registry: Registry, clock: Clock) -> None:
    grant = ask(registry, write(registry).id)
    clock.now += 25 * 3600
    with pytest.raises(GrantExpired):
        grant.check()


def test_revoking_bars_new_grants_and_stops_running_ones(registry: Registry) -> None:
    record = write(registry)
    grant = ask(registry, record.id)
    registry.revoke(record.id)
    with pytest.raises(ConsentRevoked):
        grant.check()
    with pytest.raises(ConsentRevoked):
        ask(registry, record.id)


def test_another_process_sees_a_revocation_at_once(registry: Registry, clock: Clock) -> None:
    grant = ask(registry, write(registry).id)
    elsewhere = Registry(registry.path, clock)
    elsewhere.revoke(grant.consent_id)
    elsewhere.close()
    with pytest.raises(ConsentRevoked):
        grant.check()


def test_revoking_twice_keeps_the_first_time(registry: Registry, clock: Clock) -> None:
    record = write(registry)
    first = registry.revoke(record.id).revoked_at
    clock.now += 100
    assert registry.revoke(record.id).revoked_at == first


def test_writing_a_revoked_record_again_does_not_revive_it(registry: Registry) -> None:
    record = write(registry)
    registry.revoke(record.id)
    assert registry.add(record).revoked_at is not None


def test_a_grant_checks_the_picture_and_the_use_it_is_asked_about(registry: Registry) -> None:
    grant = ask(registry, write(registry).id)
    with pytest.raises(ConsentMismatch):
        grant.check(image_sha256=OTHER)
    with pytest.raises(ConsentScopeDenied):
        grant.check(scope=Scope.LIVE)


def test_nobody_but_the_gate_makes_a_grant(registry: Registry) -> None:
    far = registry.clock() + 1e9
    with pytest.raises(GrantForged):
        ConsentGrant(
            "c-1",
            "ada",
            PICTURE,
            Scope.LIVE,
            "s",
            far,
            far,
            RecordValidator(registry),
            seal=b"guess",
        )


@pytest.mark.parametrize(
    "change",
    [
        {"avatar": "eve"},
        {"image_sha256": OTHER},
        {"scope": Scope.LIVE},
        {"expires_at": 1e12},
        {"begin_by": 1e12},
        {"session": "another"},
        {"consent_id": "c-other"},
    ],
)
def test_a_changed_grant_is_refused(registry: Registry, change: dict[str, object]) -> None:
    grant = ask(registry, write(registry).id)
    with pytest.raises(GrantForged):
        replace(grant, **change)  # type: ignore[arg-type]
    (name, value), *_ = change.items()
    object.__setattr__(grant, name, value)
    with pytest.raises(GrantForged):
        grant.check()


def test_a_grant_cannot_be_moved_to_another_registry(registry: Registry, tmp_path: Path) -> None:
    grant = ask(registry, write(registry).id)
    other = Registry(tmp_path / "other.sqlite")
    with pytest.raises(GrantForged):
        replace(grant, judge=RecordValidator(other))
    other.close()


def test_a_grant_is_frozen_and_does_not_travel(registry: Registry) -> None:
    grant = ask(registry, write(registry).id)
    with pytest.raises(FrozenInstanceError):
        grant.avatar = "eve"  # type: ignore[misc]
    with pytest.raises(TypeError):
        pickle.dumps(grant)
    copy.copy(grant).check()


def test_a_bundled_avatar_is_granted_through_its_synthetic_record(registry: Registry) -> None:
    record = write(registry, id="bundled-mira", kind=Kind.SYNTHETIC)
    grant = ConsentGate(registry).grant_bundled(BundledAvatar(record), Scope.LIVE)
    grant.check(scope=Scope.LIVE)
    assert registry.get("bundled-mira").kind is Kind.SYNTHETIC


def test_a_revoked_bundled_avatar_stays_barred(registry: Registry) -> None:
    record = write(registry, id="bundled-mira", kind=Kind.SYNTHETIC)
    registry.revoke(record.id)
    with pytest.raises(ConsentRevoked):
        ConsentGate(registry).grant_bundled(BundledAvatar(record), Scope.LIVE)


def test_a_bundled_record_of_a_real_person_or_another_picture_is_refused(
    registry: Registry,
) -> None:
    real = write(registry)
    with pytest.raises(AvatarDamaged):
        ConsentGate(registry).grant_bundled(BundledAvatar(real), Scope.LIVE)
    synthetic = replace(real, kind=Kind.SYNTHETIC)
    with pytest.raises(AvatarDamaged):
        ConsentGate(registry).grant_bundled(BundledAvatar(synthetic, OTHER), Scope.LIVE)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": " "},
        {"statement": ""},
        {"image_sha256": "ABC"},
        {"scopes": frozenset()},
        {"expires_at": 1.0},
        {"verified_by": ""},
    ],
)
def test_an_incomplete_record_is_not_written(registry: Registry, change: dict[str, object]) -> None:
    with pytest.raises(ConsentInvalid):
        write(registry, **change)
    assert registry.all() == []


def test_records_survive_reopening(registry: Registry, clock: Clock) -> None:
    record = write(registry, expires_at=clock.now + 5)
    again = Registry(registry.path, clock)
    assert again.all() == [record] == [again.get(record.id)]
    again.close()


def test_threads_may_share_a_registry(registry: Registry) -> None:
    def work() -> None:
        for _ in range(10):
            ask(registry, write(registry).id).check()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.all()) == 40


def test_a_registry_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("this is no database, it is a sentence. " * 20)
    for path in (tmp_path / "text.sqlite", tmp_path / "text.sqlite" / "below"):
        with pytest.raises(RegistryUnavailable, match=str(path)):
            Registry(path)


def test_a_closed_registry_refuses_instead_of_granting(registry: Registry) -> None:
    grant = ask(registry, write(registry).id)
    registry.close()
    with pytest.raises(ConsentError):
        grant.check()
