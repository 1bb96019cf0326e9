"""The command that enrols: a sidecar that renders, a preview, and no frame without consent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.enrol import main
from pipeline.models.mini.enrolment.landmarks_file import load_landmarks
from pipeline.models.mini.enrolment.photo_limits import restrained
from pipeline.models.mini.rig.state import INDEX, SLICES, neutral
from pipeline.models.mini.sample_motion import FRAMES, MOMENTS, moment, states
from server.cli.command import main as continuum


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A smaller copy of a bundled picture, as if it were somebody's own."""
    path = tmp_path / "me.png"
    with Image.open(find_avatar("mira").reference) as picture:
        picture.convert("RGB").crop((192, 0, 832, 640)).save(path)
    return path


def height(path: Path) -> int:
    with Image.open(path) as image:
        return image.height


def test_a_picture_becomes_a_sidecar_and_a_preview(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = mine.with_name("look.png")
    assert main([str(mine), "--preview", str(out)]) == 0
    said = capsys.readouterr().out
    assert "points" in said and "need --consent" in said
    points = load_landmarks(mine.with_name("me.landmarks.json"), 640, 640)
    assert len(points) > 40
    assert height(out) < 500, "one row: points and fit alone"


def test_frames_need_the_consent_of_this_very_picture(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = str(tmp_path / "consents.sqlite")
    other = tmp_path / "other.png"
    Image.new("RGB", (200, 200)).save(other)
    ids = {}
    for image in (mine, other):
        flags = ["--subject", "me", "--kind", "self", "--statement", "yes", "--adult"]
        assert (
            continuum(["consent", "add", "--registry", registry, "--image", str(image), *flags])
            == 0
        )
        ids[image] = capsys.readouterr().out.split()[-1]
    sidecar, out = tmp_path / "points.json", tmp_path / "look.png"
    common = [str(mine), "--sidecar", str(sidecar), "--preview", str(out), "--registry", registry]
    assert main([*common, "--consent", ids[other]]) == 2
    assert "is for picture" in capsys.readouterr().err
    assert not sidecar.exists() and not out.exists(), "refused before anything was looked at"
    assert main([*common, "--consent", ids[mine]]) == 0
    assert height(out) > 1000, "three rows: test frames too"


def test_what_cannot_work_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (300, 300), (120, 110, 100)).save(wall)
    assert main([str(wall)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("enrol: no person was found") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [wall]


def test_given_points_are_taken_as_they_are(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(mine), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    found["points"]["nose_tip"][0] += 5
    path = mine.with_name("corrected.json")
    path.write_text(json.dumps(found))
    assert main([str(mine), "--landmarks", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == found["points"]


def test_motion_of_a_photograph_stays_within_what_a_warp_bears() -> None:
    rest = neutral()
    rest[INDEX["head_yaw"]] = 0.3
    wild = rest + np.float32(2.0)
    tame = restrained(wild, rest)
    away = np.abs(tame - rest)
    assert away[INDEX["head_yaw"]] <= 0.17 and away[SLICES["left_arm"]].max() <= 0.031
    assert tame[INDEX["jawOpen"]] == wild[INDEX["jawOpen"]], "a face may do what it likes"
    small = rest.copy()
    small[INDEX["head_yaw"]] += 0.03
    assert abs(restrained(small, rest)[INDEX["head_yaw"]] - 0.33) < 0.002


def test_two_seconds_try_every_moment_and_come_back() -> None:
    rest = neutral()
    rest[INDEX["mouthSmileLeft"]] = 0.5
    made = states(rest)
    assert made.shape == (FRAMES, len(rest))
    np.testing.assert_array_equal(made[0], rest)
    np.testing.assert_array_equal(made[-1], rest)
    assert np.abs(np.diff(made, axis=0)).max() < 0.6, "no jumps"
    for number, (_, changes) in enumerate(MOMENTS):
        keyed = moment(rest, number)
        assert all(abs(keyed[INDEX[n]]) >= 0.04 for n in changes)
        assert keyed[INDEX["mouthSmileLeft"]] == changes.get("mouthSmileLeft", 0.0)
