"""The visible mark: there on every frame, legible, cheap, and gone only on audited words."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pipeline.media.label import CLEAR, Label, Place, Style, removed

GREYS = (0, 40, 128, 215, 255)


def grey(size: int, value: int) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("size", [256, 512])
def test_its_letters_stand_out_on_any_ground(style: Style, size: int) -> None:
    label = Label(style=style)
    left, upper, right, lower = label.box(size, size)
    for value in GREYS:
        image = label.stamp(grey(size, value))
        mark = image[upper:lower, left:right].astype(int)
        assert mark.max() - mark.min() > 110, (style, size, value)


@pytest.mark.parametrize("place", list(Place))
def test_only_its_corner_is_touched(place: Place) -> None:
    label = Label(place=place)
    image = label.stamp(grey(512, 128))
    left, upper, right, lower = label.box(512, 512)
    image[upper:lower, left:right] = 128
    assert (image == 128).all()
    assert (right - left) * (lower - upper) < 0.01 * 512 * 512


@given(st.integers(64, 1200), st.integers(64, 1200), st.sampled_from(Place), st.sampled_from(Style))
def test_it_fits_any_frame_and_never_wraps_round(
    width: int, height: int, place: Place, style: Style
) -> None:
    label = Label(place=place, style=style)
    left, upper, right, lower = label.box(width, height)
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    for value in (0, 255):
        image = np.full((height, width, 3), value, np.uint8)
        mark = label.stamp(image)[upper:lower, left:right]
        assert (mark[0, 0] == value).all() or style is not Style.OUTLINE


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("place", list(Place))
def test_a_measuring_strip_does_not_cover_it(place: Place, size: int) -> None:
    strip = 3 * (size // 32)
    assert Label(place=place).box(size, size)[3] <= size - strip
    assert CLEAR * size >= strip


def test_a_read_only_frame_is_copied_and_a_writable_one_is_not() -> None:
    image = grey(256, 90)
    assert Label().stamp(image) is image
    kept = grey(256, 90)
    kept.flags.writeable = False
    marked = Label().stamp(kept)
    assert marked is not kept and (kept == 90).all() and (marked != 90).any()


def test_a_frame_costs_less_than_a_fifth_of_a_millisecond() -> None:
    image, label = grey(512, 90), Label()
    label.stamp(image)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        label.stamp(image)
        best = min(best, time.perf_counter() - started)
    assert best < 0.2e-3


def test_it_is_removed_on_words_that_were_audited_first() -> None:
    entries: list[tuple[str, str]] = []
    words = "broadcast with a caption of its own"
    label = removed(words, "newsroom", lambda what, details: entries.append((what, details)))
    assert entries == [("label.removed", f"newsroom: {words}")]
    assert (label.stamp(grey(256, 90)) == 90).all()


def test_what_cannot_be_audited_is_not_removed() -> None:
    def refuse(what: str, details: str) -> None:
        raise OSError("the audit cannot be written")

    with pytest.raises(OSError, match="audit"):
        removed("a reason that is long enough", "me", refuse)


@pytest.mark.parametrize(
    ("words", "who"), [("", "me"), ("because", "me"), ("long enough, yes", "")]
)
def test_removal_wants_words_and_somebody_who_says_them(words: str, who: str) -> None:
    with pytest.raises(ValueError, match="say why"):
        removed(words, who, lambda what, details: None)


def test_no_label_without_a_mark_is_made_by_hand() -> None:
    with pytest.raises(ValueError, match="audited"):
        Label(declaration="nobody was asked")
    with pytest.raises(ValueError, match="24"):
        Label(text=" ")
