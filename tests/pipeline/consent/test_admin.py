"""``continuum``: from a challenge to an enrolled avatar and back, with tables and with JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.consent import ConsentGate, Registry, Scope
from pipeline.consent.chain import Entry, first_break
from pipeline.consent.records import DAY_S, sha256_of
from pipeline.errors import ConsentRevoked
from server.cli.command import main
from tests.fakes import FACE
from tests.pipeline.consent.conftest import photo, png


@dataclass
class Desk:
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: object) -> str:
        """The output of a command that succeeds."""
        assert main([*map(str, arguments), "--registry", str(self.folder / "r.sqlite")]) == 0
        return self.capsys.readouterr().out.strip()

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def refused(self, *arguments: object) -> str:
        """The one line of a refusal."""
        assert main([*map(str, arguments), "--registry", str(self.folder / "r.sqlite")]) == 2
        told = self.capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        return told.err

    def picture(self) -> Path:
        path = self.folder / "me.png"
        path.write_bytes(png(photo(1, 200)))
        sidecar = {"width": 200, "height": 200, "points": FACE}
        (self.folder / "me.landmarks.json").write_text(json.dumps(sidecar))
        return path

    def add(self, *more: object) -> str:
        named = ("--subject", "Ada Example", "--kind", "self", "--statement", "yes")
        return self.run("consent", "add", "--image", self.picture(), *named, "--adult", *more)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_from_a_challenge_to_an_avatar_and_back(desk: Desk) -> None:
    code = desk.json("consent", "challenge", "--subject", "Ada Example")["code"]
    (desk.folder / "ada.webm").write_bytes(b"a recording")
    evidence = ("--challenge", code, "--evidence", desk.folder / "ada.webm")
    consent = desk.add(*evidence)
    checks = ("--transcript", "passed", "--face", "passed", "--voice", "passed")
    assert "face passed" in desk.run("consent", "verify", consent, *checks, "--by", "G. H.")
    assert desk.run("avatar", "add", "ada", "--image", desk.folder / "me.png", "--consent", consent)
    (ada,) = [a for a in desk.json("avatar", "list") if a["origin"] == "enrolled"]
    assert (ada["name"], ada["consent_id"]) == ("ada", consent)
    desk.run("consent", "evidence", consent, "--out", desk.folder / "copy.webm")
    assert (desk.folder / "copy.webm").read_bytes() == b"a recording"
    assert "revoked" in desk.run("consent", "revoke", consent, "--reason", "she asked")
    assert [a for a in desk.json("avatar", "list") if a["origin"] == "enrolled"] == []
    actions = [entry["action"] for entry in desk.json("audit", "list", "--consent-id", consent)]
    assert actions == [
        "consent.recorded", "consent.verified", "grant.issued", "avatar.enrolled",
        "evidence.read", "consent.revoked", "consent.erased",
    ]  # fmt: skip
    assert desk.json("audit", "verify")["intact"] is True


def test_avatars_are_removed_and_names_are_taken_once(desk: Desk) -> None:
    consent = desk.add()
    add = ("--image", desk.folder / "me.png", "--consent", consent)
    assert "a-z" in desk.refused("avatar", "add", "Ada!", *add)
    assert "already" in desk.refused("avatar", "add", "mira", *add)
    desk.run("avatar", "add", "ada", *add)
    assert "already" in desk.refused("avatar", "add", "ada", *add)
    desk.run("avatar", "remove", "ada")
    assert "ada" in desk.refused("avatar", "remove", "ada")
    registry = Registry(desk.folder / "r.sqlite")
    assert registry.vault.names() == set()
    registry.close()


def test_an_avatar_needs_the_gates_leave(desk: Desk) -> None:
    consent = desk.add()
    add = ("avatar", "add", "ada", "--image", desk.folder / "me.png", "--consent")
    assert "c-none" in desk.refused(*add, "c-none")
    desk.run("consent", "revoke", consent)
    assert "revoked" in desk.refused(*add, consent)
    refusals = desk.json("audit", "list", "--action", "grant.refused")
    assert [entry["detail"]["code"] for entry in refusals] == ["consent_revoked"]


def test_protections_are_managed_and_overridden_with_a_reason(desk: Desk) -> None:
    denial = desk.run("deny", "add", "Ada Example", "--alias", "A. E.", "--image", desk.picture())
    assert denial in desk.run("deny", "list")
    consent = desk.add()
    assert "not verified" in desk.refused("deny", "override", consent, "--reason", "herself")
    shown = desk.json("consent", "show", consent)
    assert shown["alike"] == [f"{denial} (picture, 1.00)"]
    desk.run("deny", "remove", denial)
    assert denial not in desk.run("deny", "list")
    assert denial in desk.refused("deny", "remove", denial)


def test_an_exported_log_is_proved_or_its_first_break_named(desk: Desk) -> None:
    desk.add()
    file = desk.folder / "audit.jsonl"
    desk.run("audit", "export", "--out", file)
    assert "intact" in desk.run("audit", "verify", "--file", file)
    file.write_text(file.read_text().replace("Ada Example", "Eve Example"))
    assert "entry 2" in desk.refused("audit", "verify", "--file", file)
    assert "cannot read" in desk.refused("audit", "verify", "--file", desk.folder / "none")
    head = desk.run("audit", "head")
    assert "intact" in desk.run("audit", "verify", "--head", head)
    assert "not the one" in desk.refused("audit", "verify", "--head", "2:" + "0" * 64)


def test_an_exported_log_whose_hashes_were_reckoned_anew_lacks_the_signatures(desk: Desk) -> None:
    desk.add()
    file, key = desk.folder / "audit.jsonl", desk.folder / "key.pem"
    key.write_text(desk.run("audit", "key"))
    desk.run("audit", "export", "--out", file)
    assert "intact" in desk.run("audit", "verify", "--file", file, "--key", key)
    forged, previous = [], ""
    for line in file.read_text().splitlines():
        entry = replace(Entry.from_line(line), actor="somebody else", previous=previous)
        previous = entry.reckoned()
        forged.append(replace(entry, hash=previous).line() + "\n")
    assert first_break(forged) is None, "hashes alone do not tell"
    file.write_text("".join(forged))
    for named in ((), ("--key", key)):
        assert "did not sign" in desk.refused("audit", "verify", "--file", file, *named)
    other = Registry(desk.folder / "other.sqlite")
    desk.run("audit", "export", "--out", file)
    key.write_bytes(other.vault.public_key())
    other.close()
    assert "did not sign" in desk.refused("audit", "verify", "--file", file, "--key", key)


def test_keys_are_made_and_closed_and_the_log_tells(desk: Desk) -> None:
    config = desk.folder / "c.toml"
    paths = {"registry": desk.folder / "r.sqlite", "keys": desk.folder / "k.sqlite"}
    config.write_text("".join(f'{name} = "{path}"\n' for name, path in paths.items()))
    key = ("key", "create", "shop", "--role", "application")
    assert main(["key", "--config", str(config), *key[1:]]) == 0
    assert desk.capsys.readouterr().out.startswith("ck_")
    (entry,) = desk.json("audit", "list", "--action", "key")
    assert entry["action"] == "key.create" and entry["detail"]["name"] == "shop"


def test_consent_is_recorded_for_a_time_listed_and_revoked(desk: Desk) -> None:
    consent = desk.add("--days", "30")
    registry = Registry(desk.folder / "r.sqlite")
    grant = ConsentGate(registry).grant(
        avatar="ada",
        image_sha256=sha256_of(desk.folder / "me.png"),
        scope=Scope.RECORDING,
        consent_id=consent,
    )
    grant.check()
    (shown,) = desk.json("consent", "list")
    assert round((shown["expires_at"] - shown["created_at"]) / DAY_S) == 30
    assert shown["scopes"] == ["live", "recording"]
    desk.run("consent", "revoke", consent)
    with pytest.raises(ConsentRevoked):
        grant.check()
    registry.close()


def test_a_record_needs_one_age(desk: Desk) -> None:
    named = ("--subject", "Ada", "--kind", "self", "--statement", "yes")
    add = ("consent", "add", "--image", desk.picture(), *named)
    assert "--adult" in desk.refused(*add)
    assert "--birth-year" in desk.refused(*add, "--adult", "--birth-year", "1990")
    assert desk.json("consent", "list") == []


def test_evidence_is_a_recording_or_a_signature(desk: Desk) -> None:
    (desk.folder / "ada.webm").write_bytes(b"a recording")
    both = ("--evidence", desk.folder / "ada.webm", "--signature", desk.folder / "ada.webm")
    named = ("--subject", "Ada", "--kind", "self", "--statement", "yes", "--adult")
    told = desk.refused("consent", "add", "--image", desk.picture(), *named, *both)
    assert "--evidence or --signature" in told
