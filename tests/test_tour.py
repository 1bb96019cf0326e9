"""docs/tour.md names files in reading order, with line counts; both have to stay true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOUR = (ROOT / "docs" / "tour.md").read_text("utf-8")
ROW = re.compile(r"^\| \[`([\w/.]+)`\]\(\.\./([\w/.]+)\) \| (\d+) \|", re.MULTILINE)
ROWS = ROW.findall(TOUR)
MOST_FILES, MOST_LINES = 12, 1500  # from microphone to frame
LIVE = TOUR.partition("## One sample, live")[2].partition("From microphone to frame")[0]


def lines(name: str) -> int:
    return (ROOT / name).read_text("utf-8").count("\n")


def test_the_tour_names_files_of_both_walks() -> None:
    assert len(ROWS) == sum(line.startswith("| [") for line in TOUR.splitlines()) > 20


@pytest.mark.parametrize(("name", "target", "told"), ROWS)
def test_a_file_of_the_tour_is_there_and_as_long_as_the_tour_says(
    name: str, target: str, told: str
) -> None:
    assert name == target
    assert lines(name) == pytest.approx(int(told), rel=0.1)


def test_the_way_from_microphone_to_frame_is_as_short_as_the_tour_says() -> None:
    said = re.search(r"From microphone to frame: (\d+) files, ([\d,]+) lines", TOUR)
    assert said is not None
    walked = [name for name, _, _ in ROW.findall(LIVE)]
    total = sum(map(lines, walked))
    assert len(walked) == int(said[1]) <= MOST_FILES
    assert total == pytest.approx(int(said[2].replace(",", "")), rel=0.05)
    assert total <= MOST_LINES, "split what is on the way by idea, or leave it off the way"


def test_the_tour_fits_on_a_page() -> None:
    assert TOUR.count("\n") <= 70
