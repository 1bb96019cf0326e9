"""The landmark sidecar: what it accepts, and that it says what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import LandmarksInvalid, LandmarksMissing
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED
from pipeline.models.mini.enrolment.landmarks_file import load_landmarks, sidecar_of
from pipeline.models.mini.rig.body import Body
from tests.fakes import FACE


def good() -> dict[str, Any]:
    return {"width": 400, "height": 300, "points": {k: [*at] for k, at in FACE.items()}}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "me.landmarks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_points_come_back_as_pixels(tmp_path: Path) -> None:
    assert load_landmarks(write(tmp_path, good()), 400, 300) == FACE


def test_the_sidecar_stands_beside_its_picture() -> None:
    assert sidecar_of(Path("a/me.png")) == Path("a/me.landmarks.json")


def test_a_missing_file_is_named_with_where_the_format_stands(tmp_path: Path) -> None:
    with pytest.raises(LandmarksMissing, match=r"me\.landmarks\.json.*--landmarks.*avatars\.md"):
        load_landmarks(tmp_path / "me.landmarks.json", 400, 300)


def test_missing_points_are_named(tmp_path: Path) -> None:
    content = good()
    del content["points"]["chin"]
    with pytest.raises(LandmarksMissing, match="chin"):
        load_landmarks(write(tmp_path, content), 400, 300)


def test_points_of_a_picture_of_another_size_are_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(LandmarksInvalid, match=r"400x300.*300x400"):
        load_landmarks(write(tmp_path, good()), 300, 400)


@pytest.mark.parametrize(
    "at", [None, 5, [1], [1, 2, 3], ["1", "2"], [True, False], [float("nan"), 1], [9_999, 1]]
)
def test_a_point_that_is_no_place_in_the_picture_is_refused(tmp_path: Path, at: object) -> None:
    content = good()
    content["points"]["chin"] = at
    with pytest.raises(LandmarksInvalid, match="chin"):
        load_landmarks(write(tmp_path, content), 400, 300)


def test_unknown_points_are_named(tmp_path: Path) -> None:
    content = good()
    content["points"]["third_eye"] = [1, 2]
    with pytest.raises(LandmarksInvalid, match="third_eye"):
        load_landmarks(write(tmp_path, content), 400, 300)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"width": 400, "height": 300}'])
def test_what_is_no_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LandmarksInvalid, match=r"avatars\.md"):
        load_landmarks(write(tmp_path, text), 400, 300)


def test_the_documented_example_is_accepted_and_every_point_documented(tmp_path: Path) -> None:
    text = (Path(__file__).parents[5] / "docs" / "avatars.md").read_text("utf-8")
    example = text.split("```json\n")[1].split("```")[0]
    assert len(load_landmarks(write(tmp_path, example), 1024, 1024)) == len(REQUIRED)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+\*?)`", row)}
    documented = {n.replace("*", s) for n in named for s in ("_left", "_right")}
    assert set(Body.load().landmarks) <= documented
