"""Provenance: a file says that it was generated, by what, on whose consent; tampering shows."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.errors import SealUnusable
from pipeline.media.provenance import (
    ASSERTION,
    SELF_MADE,
    SOURCE_TYPE,
    Origin,
    load_signer,
    read_manifest,
    sealing,
    self_made,
    sidecar,
)
from pipeline.media.video_file import VideoWriter

ORIGIN = Origin("mini", "mira", "ab" * 32, "AI")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 64, 64, seal=sealing(ORIGIN, path.name)) as writer:
        for shade in range(10):
            writer.video(np.full((64, 64, 3), shade * 20, np.uint8))
            writer.audio(np.zeros((1, 1920), np.float32))
    return path


def test_a_file_says_how_it_came_to_be(film: Path) -> None:
    manifest = read_manifest(film)
    assert manifest is not None and manifest["validation_state"] == "Valid"
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created" and action["digitalSourceType"] == SOURCE_TYPE
    said = assertions[ASSERTION]
    assert said["consent_sha256"] == "ab" * 32 and said["model"] == "mini" and said["mark"] == "AI"
    assert [path.name for path in film.parent.iterdir()] == ["film.mp4"]


def test_a_self_made_certificate_says_that_it_vouches_for_nobody(film: Path) -> None:
    manifest = read_manifest(film)
    assert manifest is not None
    assert manifest["signature_info"]["common_name"] == SELF_MADE[:64]
    codes = [each["code"] for each in manifest["validation_status"]]
    assert codes == ["signingCredential.untrusted"]
    assert {each["label"]: each["data"] for each in manifest["assertions"]}[ASSERTION][
        "certificate"
    ] == "self-made"


def test_a_changed_byte_of_the_picture_shows(film: Path) -> None:
    data = bytearray(film.read_bytes())
    data[-20] ^= 1
    film.write_bytes(bytes(data))
    manifest = read_manifest(film)
    assert manifest is not None and manifest["validation_state"] == "Invalid"
    assert "assertion.bmffHash.mismatch" in [s["code"] for s in manifest["validation_status"]]


def test_a_manifest_that_a_file_cannot_hold_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    with VideoWriter(path, 64, 64, seal=sealing(ORIGIN, path.name)) as writer:
        writer.video(np.zeros((64, 64, 3), np.uint8))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["film.webm", "film.webm.c2pa"]
    manifest = read_manifest(path)
    assert manifest is not None and manifest["validation_state"] == "Valid"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    manifest = read_manifest(path)
    assert manifest is not None and manifest["validation_state"] == "Invalid"
    sidecar(path).unlink()
    assert read_manifest(path) is None


def test_a_file_without_a_manifest_has_none(tmp_path: Path) -> None:
    path = tmp_path / "plain.mp4"
    with VideoWriter(path, 64, 64) as writer:
        writer.video(np.zeros((64, 64, 3), np.uint8))
    assert read_manifest(path) is None


def test_the_operators_certificate_signs_when_it_is_named(tmp_path: Path, film: Path) -> None:
    made = self_made()
    (tmp_path / "chain.pem").write_bytes(made.chain)
    (tmp_path / "key.pem").write_bytes(made.key)
    signer = load_signer(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert signer.algorithm == "es256" and not signer.self_made
    assert "PRIVATE" not in repr(signer)
    path = tmp_path / "signed.mp4"
    with VideoWriter(path, 64, 64, seal=sealing(ORIGIN, "signed.mp4", signer)) as writer:
        writer.video(np.zeros((64, 64, 3), np.uint8))
    manifest = read_manifest(path)
    assert manifest is not None and manifest["validation_state"] == "Valid"


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (tmp_path / "chain.pem").write_bytes(self_made().chain)
    (tmp_path / "key.pem").write_bytes(other.private_bytes(*form, serialization.NoEncryption()))
    with pytest.raises(SealUnusable, match="not that of the certificate"):
        load_signer(tmp_path / "chain.pem", tmp_path / "key.pem")
    with pytest.raises(SealUnusable, match="not usable"):
        load_signer(tmp_path / "nothing.pem", tmp_path / "key.pem")


def test_a_file_that_cannot_be_signed_is_not_written(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise SealUnusable("the certificate has expired")

    path = tmp_path / "film.mp4"
    with pytest.raises(SealUnusable), VideoWriter(path, 64, 64, seal=refuse) as writer:
        writer.video(np.zeros((64, 64, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_self_made_certificate_lasts_for_days_not_for_years() -> None:
    leaf = x509.load_pem_x509_certificates(self_made().chain)[0]
    now = datetime.datetime.now(datetime.UTC)
    assert leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
    assert leaf.not_valid_after_utc - now < datetime.timedelta(days=31)
