"""The policy in force is the registry's: every process obeys it, and none can ask for less."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings, strategies as st

from pipeline.consent import ConsentGate, Registry, RegistryOverrides, Scope
from pipeline.consent.database import HEAD
from pipeline.consent.policy import Demand, Policy, examine, load_policy
from pipeline.consent.records import CHECKS, ConsentRecord
from pipeline.consent.schema import orders
from pipeline.consent.signed_settings import POLICY
from pipeline.errors import (
    ConsentError,
    ConsentTampered,
    ConsentTerritoryDenied,
    ConsentUnverified,
    PolicyInvalid,
)
from server.cli.command import main as continuum
from server.consent.registry import open_registry
from server.settings import Settings
from tests.pipeline.consent.conftest import Clock, Office, Opened, photo as picture_of, png

FACE = Policy({scope: Demand(frozenset({"face"})) for scope in Scope})

demands = st.builds(
    Demand,
    st.frozensets(st.sampled_from(CHECKS)),
    st.booleans(),
    st.sampled_from([0.0, 18.0, 21.5, 100.0]),
)
policies = st.builds(
    Policy,
    st.fixed_dictionaries(dict.fromkeys(Scope, demands)),
    st.sampled_from(["", "DE", "AT"]),
)


def again(office: Office, **setup: object) -> Office:
    """The same registry, as another process opens it that was told nothing."""
    made = RegistryOverrides(**setup)  # type: ignore[arg-type]
    return Office(Registry(office.registry.where, office.clock, made), office.clock)


# -- it is stored --------------------------------------------------------------------------------


@given(policies)
def test_a_policy_is_read_back_as_it_was_written(policy: Policy) -> None:
    assert Policy.read(policy.document()) == policy


@settings(max_examples=25)
@given(policy=policies)
def test_a_policy_that_is_shown_can_be_set(
    tmp_path_factory: pytest.TempPathFactory, policy: Policy
) -> None:
    file = tmp_path_factory.mktemp("policy") / "policy.toml"
    file.write_text(policy.toml())
    assert load_policy(file) == policy


def test_a_registry_begins_with_the_default(office: Office) -> None:
    assert office.registry.policies.in_force() == Policy()


def test_a_policy_that_is_set_binds_who_was_told_nothing(opened: Opened, where: Path | str) -> None:
    office = opened(where)
    record = office.write()
    running = office.ask(record)
    elsewhere = opened(where)
    elsewhere.registry.policies.set(FACE, actor="Grace", reason="the board")
    office.registry.database.refresh()
    for each in (office, elsewhere, opened(where)):
        with pytest.raises(ConsentUnverified, match="face"):
            each.ask(record)
        assert each.registry.policies.in_force() == FACE
    with pytest.raises(ConsentUnverified):
        running.check()
    office.registry.policies.set(Policy())
    running.check()
    office.registry.policies.set(FACE)
    assert office.registry.policies.in_force() == FACE, "one's own act counts at once"
    told = [e for e in office.registry.log.entries() if e.action == "policy.set"][:2]
    assert [entry.actor for entry in told] == ["Grace", "operator"]
    assert '"reason":"the board"' in told[0].detail and '"checks":["face"]' in told[0].detail


def test_what_a_file_does_not_name_keeps_its_default(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[publication]\nleast_age = 21\n[live]\nevidence = true\n")
    held = load_policy(file)
    assert held.demands[Scope.PUBLICATION] == Demand(frozenset(CHECKS), True, 21.0)
    assert held.demands[Scope.LIVE] == Demand(frozenset(), True)
    for text in ('territory = "de"', 'territory = "DEU"', "[live]\nleast_age = true"):
        file.write_text(text)
        with pytest.raises(PolicyInvalid):
            load_policy(file)


# -- nobody asks for less ------------------------------------------------------------------------


def examined(policies: list[Policy], record: ConsentRecord, scope: Scope) -> bool:
    try:
        examine(policies, record, scope)
    except ConsentError:
        return False
    return True


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[ConsentRecord]:
    registry = Registry(tmp_path_factory.mktemp("records") / "r.sqlite", Clock())
    office = Office(registry, Clock())
    plain = [office.write(territory=where) for where in ("", "DE", "DE,AT")]
    verified = [office.verified(territory=where) for where in ("", "AT", "DE,AT")]
    registry.close()
    return [*plain, *verified]


@settings(max_examples=200)
@given(held=policies, own=policies)
def test_a_process_can_add_demands_and_drop_none(
    records: list[ConsentRecord], held: Policy, own: Policy
) -> None:
    for record, scope in itertools.product(records, Scope):
        both = examined([held, own], record, scope)
        if record.territory and not held.territory:  # the process says where it is
            continue
        assert both <= examined([held], record, scope), (record, scope)
        assert both <= examined([own], record, scope) or not own.territory


def test_the_servers_setting_only_adds(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.sqlite")
    registry.policies.set(FACE)
    registry.close()
    (tmp_path / "none.toml").write_text("[live]\nchecks = []\n[recording]\nevidence = true\n")
    named = {"registry": str(tmp_path / "r.sqlite"), "policy": str(tmp_path / "none.toml")}
    served = open_registry(Settings(**named))  # type: ignore[arg-type]
    office = Office(served, Clock())
    record = office.write()
    for scope, lacks in ((Scope.LIVE, "face"), (Scope.RECORDING, "face")):
        with pytest.raises(ConsentUnverified, match=lacks):
            ConsentGate(served).grant(
                avatar="ada",
                image_sha256=record.image_sha256,
                scope=scope,
                consent_id=record.id,
            )
    served.verify(record.id, {"face": "passed"}, "by eye")  # type: ignore[dict-item]
    office.ask(record).check()
    with pytest.raises(ConsentUnverified, match="evidence"):
        office.ask(record, scope=Scope.RECORDING)
    served.close()


def test_a_record_for_some_countries_needs_to_know_where_it_is(office: Office) -> None:
    record = office.write(territory="DE,AT")
    with pytest.raises(ConsentTerritoryDenied, match="does not say where"):
        office.ask(record)
    for territory, holds in (("DE", True), ("CH", False), ("AT", True)):
        office.registry.policies.set(Policy(territory=territory))
        if holds:
            office.ask(record).check()
            continue
        with pytest.raises(ConsentTerritoryDenied):
            office.ask(record)
    abroad = again(office, policy=Policy(territory="CH"))
    with pytest.raises(ConsentTerritoryDenied):
        abroad.ask(record)
    abroad.registry.close()


# -- nobody is at it behind our back -------------------------------------------------------------


def change(office: Office, *statements: sa.sql.Executable) -> None:
    with office.registry.database.write() as connection:
        for statement in statements:
            connection.execute(statement)
        office.registry.database.bump(connection)


def test_a_policy_that_was_changed_in_the_database_lets_nobody_through(office: Office) -> None:
    office.registry.policies.set(FACE)
    record = office.verified()
    grant = office.ask(record)
    change(office, orders.update().values(document=Policy().document()))
    for ask in (grant.check, lambda: office.ask(record), office.registry.policies.in_force):
        with pytest.raises(ConsentTampered, match="policy number 1"):
            ask()
    office.registry.policies.set(FACE)
    grant.check()


def test_an_older_policy_cannot_be_brought_back(office: Office) -> None:
    office.registry.policies.set(Policy())
    office.registry.policies.set(FACE)
    record = office.write()
    for kept in (1, 0):
        change(office, orders.delete().where(orders.c.number > kept))
        with pytest.raises(ConsentTampered, match="number 2 is in the audit log"):
            office.ask(record)
    assert office.registry.policies.set(FACE).number == 3
    assert office.registry.policies.in_force() == FACE


def test_a_policy_of_another_registry_is_no_policy(office: Office, tmp_path: Path) -> None:
    other = Registry(
        tmp_path / "other.sqlite", setup=RegistryOverrides(vault=office.registry.vault.folder)
    )
    foreign = other.policies.set(Policy())
    row = {column.name: getattr(foreign, column.name) for column in orders.c}
    change(office, orders.insert().values(row))
    with pytest.raises(ConsentTampered, match="not what the operator signed"):
        office.ask(office.write())
    other.close()


def test_a_setting_that_fails_leaves_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(office.registry.log, "append", fails)
    with pytest.raises(ConsentError):
        office.registry.policies.set(FACE)
    monkeypatch.undo()
    assert office.registry.settings.in_force(POLICY) is None
    assert "policy.set" not in office.actions()


# -- it comes from before ------------------------------------------------------------------------


LIKENESSES = (
    "CREATE TABLE likenesses (consent_id TEXT NOT NULL, other TEXT NOT NULL, how TEXT NOT NULL,"
    " score DOUBLE PRECISION NOT NULL, PRIMARY KEY (consent_id, other))"
)


def as_before(office: Office) -> None:
    """Takes the registry back to the release before this one, which had no orders."""
    with office.registry.database.write() as connection:
        orders.drop(connection)
        connection.exec_driver_sql(LIKENESSES)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    office.registry.close()


def test_a_registry_of_the_release_before_has_the_default_policy(
    where: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.consent.registry_config.HOME", tmp_path / "home")
    clock = Clock()
    office = Office(Registry(where, clock), clock)
    record = office.write()
    as_before(office)
    later = again(office)
    later.ask(record).check()
    assert later.registry.policies.in_force() == Policy()
    assert later.registry.log.verify() > 0
    with later.registry.database.read() as connection:
        assert (
            connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
        )
    (told,) = [e for e in later.registry.log.entries() if e.action == "registry.migrated"]
    assert '"version":"0001"' in told.detail
    later.registry.close()


# -- commands ------------------------------------------------------------------------------------


def test_commands_show_set_and_obey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, registry = tmp_path / "policy.toml", ("--registry", str(tmp_path / "r.sqlite"))
    assert continuum(["policy", "show", *registry]) == 0
    file.write_text(capsys.readouterr().out)
    assert load_policy(file) == Policy()
    file.write_text(FACE.toml())
    assert continuum(["policy", "set", str(file), "--reason", "the board", *registry]) == 0
    assert "policy 1" in capsys.readouterr().out
    assert continuum(["policy", "show", "--json", *registry]) == 0
    assert '"checks": ["face"]' in capsys.readouterr().out
    file.write_text("gate = false")
    assert continuum(["policy", "set", str(file), *registry]) == 2
    assert "gate" in capsys.readouterr().err
    held = Registry(tmp_path / "r.sqlite")
    assert held.policies.in_force() == FACE and held.log.verify() > 0
    held.close()


def test_the_little_command_obeys_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.sqlite"
    Office(registry := Registry(path), Clock()).registry.policies.set(FACE)
    (tmp_path / "me.png").write_bytes(png(picture_of(1, 64)))
    who = ["--subject", "Ada", "--kind", "self", "--statement", "yes", "--adult"]
    image = ["--image", str(tmp_path / "me.png")]
    assert continuum(["consent", "add", "--registry", str(path), *image, *who]) == 0
    consent = capsys.readouterr().out.strip()
    with pytest.raises(ConsentUnverified):
        Office(registry, Clock()).ask(registry.get(consent))
    registry.close()
