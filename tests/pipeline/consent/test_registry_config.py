"""Vault, keys, models and retention are the registry's: who names none works with the same."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.consent import Registry, RegistryOverrides
from pipeline.consent.policy import Policy
from pipeline.consent.registry_config import NONE, RegistryConfig
from pipeline.consent.schema import orders
from pipeline.errors import (
    ConsentDenied,
    ConsentTampered,
    PolicyInvalid,
    RegistryUnavailable,
)
from server.cli.command import main as continuum
from server.consent.registry import open_registry
from server.settings import Settings
from tests.pipeline.consent.conftest import Clock, Office
from tests.pipeline.consent.test_protection import brightness_model, coloured, enrol

Open = Callable[..., Office]


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "3", '{"vault": 3}', '{"walls": "thick"}', "[" * 9999]
)
def test_a_document_that_is_none_is_refused_and_not_a_crash(document: str) -> None:
    for read in (RegistryConfig.read, Policy.read):
        if document == "[]" and read == Policy.read:
            continue  # an empty policy is the default, however it is written
        with pytest.raises(PolicyInvalid):
            read(document)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Open]:
    """Opens the one registry of the test as some process would, naming what is given."""
    made, clock = list[Registry](), Clock()

    def opened(**setup: object) -> Office:
        made.append(Registry(tmp_path / "r.sqlite", clock, RegistryOverrides(**setup)))  # type: ignore[arg-type]
        return Office(made[-1], clock)

    yield opened
    for registry in made:
        registry.close()


def told(office: Office) -> list[str]:
    return [e.detail for e in office.registry.log.entries() if e.action == "premises.set"]


def key(path: Path) -> Path:
    private = Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_who_names_no_vault_works_with_the_one_that_was_named(house: Open, tmp_path: Path) -> None:
    server = house(vault=tmp_path / "far" / "vault")
    record = server.registry.add(server.draft(), evidence=b"a recording")
    command = house()
    assert command.registry.vault.folder == tmp_path / "far" / "vault"
    assert command.registry.evidence(record.id) == b"a recording"
    command.ask(record).check()
    assert command.registry.log.verify() == server.registry.log.verify()
    assert not (tmp_path / "r.vault").exists()
    assert len(told(command)) == 1


def test_a_registry_is_only_opened_with_its_own_keys(house: Open, tmp_path: Path) -> None:
    office = house()
    office.write()
    Registry(tmp_path / "other.sqlite").close()
    count = office.registry.log.verify()
    with pytest.raises(RegistryUnavailable, match="not signed with the keys"):
        house(vault=tmp_path / "other.vault")
    with pytest.raises(RegistryUnavailable, match="not signed with the keys"):
        house(operator_key=key(tmp_path / "key.pem"))
    with pytest.raises(RegistryUnavailable, match="no key at"):
        house(vault=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists(), "keys were made for a registry that has some"
    assert office.registry.log.verify() == count
    house().write()


def test_a_registry_whose_vault_is_gone_makes_no_new_keys(house: Open, tmp_path: Path) -> None:
    house().registry.close()
    (tmp_path / "r.vault").rename(tmp_path / "moved")
    with pytest.raises(RegistryUnavailable, match=r"no key at .*r\.vault"):
        house()
    assert not (tmp_path / "r.vault").exists()
    house(vault=tmp_path / "moved").write()
    assert house().registry.vault.folder == tmp_path / "moved"


def test_named_keys_need_the_vault_of_their_registry(house: Open, tmp_path: Path) -> None:
    secret = tmp_path / "evidence.key"
    secret.write_bytes(base64.b64encode(bytes(32)))
    named = {"operator_key": key(tmp_path / "key.pem"), "evidence_key": secret}
    office = house(**named)
    record = office.registry.add(office.draft(), evidence=b"a recording")
    assert house().registry.evidence(record.id) == b"a recording"
    shutil.rmtree(tmp_path / "r.vault")
    with pytest.raises(RegistryUnavailable, match="no vault at"):
        house()


def test_a_vault_without_the_files_or_another_evidence_key_is_refused(
    house: Open, tmp_path: Path
) -> None:
    office = house()
    office.registry.add(office.draft(), evidence=b"a recording")
    shutil.copytree(tmp_path / "r.vault", tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "blobs")
    (tmp_path / "other.key").write_bytes(base64.b64encode(b"k" * 32))
    for named in ({"vault": tmp_path / "copy"}, {"evidence_key": tmp_path / "other.key"}):
        with pytest.raises(RegistryUnavailable, match="encrypted with another key"):
            house(**named)
    assert told(house()) == []


def test_an_operators_key_is_changed_with_the_old_one_among_the_trusted(
    house: Open, tmp_path: Path
) -> None:
    office = house()
    record = office.write()
    new = key(tmp_path / "new.pem")
    with pytest.raises(RegistryUnavailable, match="trusted/"):
        house(operator_key=new)
    trusted = tmp_path / "r.vault" / "trusted"
    trusted.mkdir()
    (trusted / "old.pem").write_bytes(office.registry.vault.public_key())
    house(operator_key=new)
    later = house()
    later.ask(record).check()
    later.ask(later.write()).check()
    assert later.registry.vault.public_key() != office.registry.vault.public_key()
    assert later.registry.log.verify() > 0


def test_no_command_erases_sooner_than_the_server_would(
    house: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = house(retention_s=1000.0)
    record = server.registry.add(server.draft(), evidence=b"a recording")
    assert (
        continuum(["consent", "revoke", record.id, "--registry", str(tmp_path / "r.sqlite")]) == 0
    )
    assert house().registry.evidence(record.id) == b"a recording"
    house(retention_s=0.0)
    assert server.registry.erase_due() == [record.id], "a running server follows"


def test_models_are_asked_whoever_writes_the_record(house: Open, tmp_path: Path) -> None:
    eye = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    face = brightness_model(tmp_path, "face", eye, 'output = "embedding"\nsame = 0.995\n')
    age = brightness_model(tmp_path, "age", [[30.0], [30.0], [0.0]], 'output = "years"\n')
    server = house(face_model=face, age_model=age)
    server.registry.denials.add("Somebody Else", picture=coloured(200, 40, 40))
    command = house()
    record = enrol(command, coloured(220, 44, 44))
    assert record.estimated_age is not None
    with pytest.raises(ConsentDenied, match="face"):
        command.ask(record)
    assert house(face_model=NONE, age_model=NONE).registry.face_models.face is None
    assert house().registry.face_models.age is None


def test_the_servers_settings_are_remembered(tmp_path: Path) -> None:
    named = {"registry": str(tmp_path / "r.sqlite"), "vault": str(tmp_path / "v")}
    open_registry(Settings(**named, retention_days=2.0)).close()  # type: ignore[arg-type]
    bare = open_registry(Settings(registry=named["registry"]))
    held = RegistryConfig(vault=str(tmp_path / "v"), retention_s=2 * 86_400.0)
    assert bare.config == held
    bare.close()
    broken = Settings(registry=named["registry"], face_model=str(tmp_path / "no.onnx"))
    with pytest.raises(PolicyInvalid):
        open_registry(broken)
    again = open_registry(Settings(registry=named["registry"]))
    assert again.config == held, "what cannot be used is not remembered"
    again.close()


def test_configuration_that_was_changed_in_the_database_open_nothing(
    house: Open, tmp_path: Path
) -> None:
    office = house(retention_s=1000.0)
    with office.registry.database.write() as connection:
        connection.execute(orders.update().values(document=RegistryConfig().document()))
    with pytest.raises(ConsentTampered, match="premises number 1"):
        house()
    with pytest.raises(ConsentTampered):
        office.registry.erase_due()
    with office.registry.database.write() as connection:
        connection.execute(orders.update().values(document="no document"))
    with pytest.raises(PolicyInvalid):
        house()


def test_a_place_that_is_the_default_is_not_worth_an_entry(house: Open, tmp_path: Path) -> None:
    house(vault=tmp_path / "r.vault", retention_s=0.0)
    assert told(house(vault=NONE)) == []
