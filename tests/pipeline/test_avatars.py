"""The catalogue: bundled people are found by name and carry a record that they do not exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import BundledAvatar, catalogue, find_avatar, write_consent
from pipeline.consent import ConsentGate, Kind, Registry, Scope
from pipeline.errors import AvatarDamaged, UnknownAvatar


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("noor", "ada"):
        folder = tmp_path / "avatars" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.full((128, 128, 3), len(name), np.uint8)).save(folder / "reference.png")
        (folder / "fit.json").write_text("{}")
        (folder / "card.toml").write_text(f'title = "{name.title()}"\n')
        write_consent(BundledAvatar(name, folder), name, "This person does not exist.", 1.8e9)
    return tmp_path / "avatars"


def test_avatars_are_listed_by_name(root: Path) -> None:
    (root / "unfinished").mkdir()
    assert list(catalogue(root)) == ["ada", "noor"]
    assert catalogue(root)["ada"].card()["title"] == "Ada"


def test_an_unknown_avatar_is_answered_with_the_known_ones(root: Path) -> None:
    with pytest.raises(UnknownAvatar, match="'eve'.*ada, noor"):
        find_avatar("eve", root)
    for name in ("../ada", "", "ADA"):
        with pytest.raises(UnknownAvatar):
            find_avatar(name, root)


def test_the_gate_grants_a_bundled_avatar_through_its_folder(root: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r.sqlite")
    avatar = find_avatar("ada", root)
    grant = ConsentGate(registry).grant_bundled(avatar, Scope.LIVE)
    grant.check(image_sha256=avatar.image_sha256())
    (record,) = registry.all()
    assert record.kind is Kind.SYNTHETIC and "does not exist" in record.statement
    registry.close()


def test_an_exchanged_picture_is_refused(root: Path, tmp_path: Path) -> None:
    avatar = find_avatar("ada", root)
    avatar.reference.write_bytes(b"somebody else")
    registry = Registry(tmp_path / "r.sqlite")
    with pytest.raises(AvatarDamaged, match="does not belong"):
        ConsentGate(registry).grant_bundled(avatar, Scope.LIVE)
    assert registry.all() == []
    registry.close()


@pytest.mark.parametrize("missing", ["reference.png", "fit.json", "card.toml", "consent.json"])
def test_a_folder_that_lacks_a_file_says_which(root: Path, missing: str) -> None:
    avatar = find_avatar("ada", root)
    (avatar.folder / missing).unlink()
    reads = {
        "reference.png": lambda: avatar.reference,
        "fit.json": lambda: avatar.fit,
        "card.toml": avatar.card,
        "consent.json": avatar.consent,
    }
    with pytest.raises(AvatarDamaged, match=missing.split(".")[0]):
        reads[missing]()


def test_every_bundled_avatar_is_whole_and_synthetic() -> None:
    for avatar in catalogue().values():
        record = avatar.consent()
        assert record.kind is Kind.SYNTHETIC
        assert record.image_sha256 == avatar.image_sha256()
        assert avatar.card()
