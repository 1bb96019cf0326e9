"""Challenges that are signed: what the signature binds, and what it does not get past."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipeline.consent import Outcome, Registry, Scope
from pipeline.consent.policy import Demand, Policy
from pipeline.consent.records import sha256_of
from pipeline.consent.signed_challenge import signed, words
from pipeline.errors import ChallengeInvalid, ConsentUnverified
from server.cli.command import main
from tests.pipeline.consent.conftest import Office, photo, png

KEY = Ed25519PrivateKey.generate()
SIGNED = Policy({scope: Demand(frozenset({"transcript"}), evidence=True) for scope in Scope})


def public(key: object = KEY) -> bytes:
    made: bytes = key.public_key().public_bytes(  # type: ignore[attr-defined]
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return made


def test_a_signed_challenge_is_evidence_and_its_words_are_checked(office: Office) -> None:
    office.registry.policies.set(SIGNED)
    code = office.registry.challenges.issue("Ada Example", actor="test").code
    draft = replace(office.draft(), challenge=code)
    signature = KEY.sign(words(code, draft.image_sha256, draft.statement))
    record, evidence = signed(draft, public(), signature)
    kept = office.registry.add(record, evidence=evidence)
    assert kept.checks.transcript is Outcome.PASSED
    assert kept.checks.face is kept.checks.voice is Outcome.NOT_DONE
    held = json.loads(office.registry.evidence(kept.id) or b"")
    assert held["signed"].startswith(code) and held["signature"] == signature.hex()
    office.ask(kept).check()
    with pytest.raises(ConsentUnverified):
        office.ask(office.write())


@pytest.mark.parametrize("change", ["challenge", "image_sha256", "statement"])
def test_a_signature_over_anything_else_is_refused(office: Office, change: str) -> None:
    draft = replace(office.draft(), challenge="a-b-c-1")
    signature = KEY.sign(words(draft.challenge, draft.image_sha256, draft.statement))
    signed(draft, public(), signature)
    other = {"image_sha256": sha256_of(b"another picture")}.get(change, "something else")
    with pytest.raises(ChallengeInvalid, match="not over this code"):
        signed(replace(draft, **{change: other}), public(), signature)  # type: ignore[arg-type]
    with pytest.raises(ChallengeInvalid):
        signed(draft, public(Ed25519PrivateKey.generate()), signature)


@pytest.mark.parametrize("signature", [b"", b"short", b"\0" * 64])
def test_what_is_no_signature_is_refused(office: Office, signature: bytes) -> None:
    with pytest.raises(ChallengeInvalid):
        signed(replace(office.draft(), challenge="a-b-c-1"), public(), signature)


def test_what_is_no_key_of_a_subject_is_refused(office: Office) -> None:
    draft = replace(office.draft(), challenge="a-b-c-1")
    for key in (b"", b"no key", public(generate_private_key(SECP256R1()))):
        with pytest.raises(ChallengeInvalid, match="key"):
            signed(draft, key, b"\0" * 64)
    with pytest.raises(ChallengeInvalid, match="name the one"):
        signed(office.draft(), public(), b"\0" * 64)


def test_a_subject_signs_with_openssl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house = ("--registry", str(tmp_path / "r.sqlite"))
    assert main(["consent", "challenge", "--subject", "Ada", "--json", *house]) == 0
    code = json.loads(capsys.readouterr().out)["code"]
    picture = png(photo(1, 64))
    (tmp_path / "ada.png").write_bytes(picture)
    (tmp_path / "words").write_bytes(words(code, sha256_of(picture), "I agree."))
    for command in (
        "genpkey -algorithm ed25519 -out key.pem",
        "pkey -in key.pem -pubout -out public.pem",
        "pkeyutl -sign -rawin -inkey key.pem -in words -out signature",
    ):
        done = subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=False)
        if done.returncode:
            pytest.skip("this openssl does not sign with Ed25519")
    who = ("--subject", "Ada", "--kind", "self", "--statement", "I agree.", "--adult")
    proof = ("--signature", str(tmp_path / "signature"), "--challenge", code)
    image = ("--image", str(tmp_path / "ada.png"))
    add = ["consent", "add", *image, *who, *proof, *house]
    assert main(add) == 2, "without the key"
    assert main([*add, "--subject-key", str(tmp_path / "public.pem")]) == 0
    registry = Registry(tmp_path / "r.sqlite")
    (record,) = registry.all()
    assert record.checks.transcript is Outcome.PASSED and record.evidence_sha256
    registry.close()
