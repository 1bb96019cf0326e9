"""The catalog of bundled and enrolled avatars: whose a name is, and which grant goes with it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.avatar_catalog import AvatarCatalog
from pipeline.avatars import BundledAvatar, write_consent
from pipeline.consent import ConsentGate, Kind, Registry, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.registry import new_record
from pipeline.errors import AvatarNameInvalid, ConsentError, LandmarksMissing, UnknownAvatar
from pipeline.media.image_file import PictureFile, hashed
from tests.fakes import FACE, FakePipeline

LANDMARKS = json.dumps({"width": 200, "height": 200, "points": FACE}).encode()


def drawn(brightness: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((200, 200, 3), brightness, np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "r.sqlite")
    yield registry
    registry.close()


@pytest.fixture
def catalog(registry: Registry, tmp_path: Path) -> AvatarCatalog:
    """With one bundled avatar, ``ada``."""
    folder = tmp_path / "avatars" / "ada"
    folder.mkdir(parents=True)
    (folder / "reference.png").write_bytes(drawn(3))
    (folder / "fit.json").write_text("{}")
    write_consent(BundledAvatar("ada", folder), "ada", "This person does not exist.", 1.8e9)
    return AvatarCatalog(ConsentGate(registry), folder=folder.parent)


@pytest.fixture
def file() -> PictureFile:
    return hashed(drawn(90))


@pytest.fixture
def consent(registry: Registry, file: PictureFile) -> str:
    record = new_record(
        subject="Eve", kind=Kind.SELF, statement="I agree.", image_sha256=file.sha256,
        scopes=Scope, adult=True, fingerprint=PLAIN,
    )  # fmt: skip
    registry.add(record)
    return record.id


def test_an_enrolled_avatar_is_found_and_read_under_its_own_record(
    catalog: AvatarCatalog, file: PictureFile, consent: str
) -> None:
    catalog.add(catalog.grant_picture("eve", file, consent, Scope.LIVE), file, LANDMARKS)
    found, model = catalog.find("eve"), FakePipeline()
    granted = catalog.read(found, catalog.grant(found, Scope.LIVE))
    assert granted.grant.consent_id == consent and granted.picture is not None
    assert granted.picture.sha256 == file.sha256 and granted.landmarks
    granted.prepare(model, (128, 128))
    assert model.avatar is not None and model.avatar.size == (128, 128)


def test_a_bundled_name_is_never_another_persons(
    catalog: AvatarCatalog, file: PictureFile, consent: str
) -> None:
    grant = catalog.grant_picture("ada", file, consent, Scope.LIVE)
    with pytest.raises(AvatarNameInvalid, match="choose another name"):
        catalog.add(grant, file, LANDMARKS)
    catalog.enrolments.add("ada", picture=file.data, landmarks=LANDMARKS, consent_id=consent)
    found = catalog.find("ada")
    assert isinstance(found, BundledAvatar)
    assert catalog.read(found, catalog.grant(found, Scope.LIVE)).picture is None


def test_who_does_not_exist_is_answered_with_everybody_who_does(
    catalog: AvatarCatalog, file: PictureFile, consent: str
) -> None:
    catalog.add(catalog.grant_picture("eve", file, consent, Scope.LIVE), file, LANDMARKS)
    with pytest.raises(UnknownAvatar, match="'tom'.*ada, eve"):
        catalog.find("tom")


def test_a_withdrawn_consent_bars_its_avatar(
    catalog: AvatarCatalog, registry: Registry, file: PictureFile, consent: str
) -> None:
    avatar = catalog.add(catalog.grant_picture("eve", file, consent, Scope.LIVE), file, LANDMARKS)
    registry.revoke(consent)
    with pytest.raises(ConsentError):
        catalog.grant(avatar, Scope.LIVE)


def test_points_that_do_not_do_enrol_nobody(
    catalog: AvatarCatalog, file: PictureFile, consent: str
) -> None:
    grant = catalog.grant_picture("eve", file, consent, Scope.LIVE)
    with pytest.raises(LandmarksMissing):
        catalog.add(grant, file, b'{"width": 200, "height": 200, "points": {}}')
    assert catalog.enrolled() == {}
