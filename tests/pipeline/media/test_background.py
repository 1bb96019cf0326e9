"""Backgrounds: what is asked for, and a matte from two drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import BackgroundInvalid, PictureUnreadable
from pipeline.media.background import GREEN, cut_out, read_background


def test_a_colour_fills_the_frame() -> None:
    assert (read_background("green").plate(4, 2) == GREEN).all()
    assert (read_background("#102030").plate(4, 2) == (16, 32, 48)).all()
    assert read_background("navy").plate(4, 2).shape == (2, 4, 3)


def test_a_picture_covers_the_frame_and_is_cut_around_its_middle(tmp_path: Path) -> None:
    wide = np.zeros((128, 384, 3), np.uint8)
    wide[:, :128], wide[:, 128:256], wide[:, 256:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(wide).save(tmp_path / "wall.png")
    plate = read_background(str(tmp_path / "wall.png")).plate(64, 64)
    assert plate.shape == (64, 64, 3) and (plate[:, 4:60] == (0, 255, 0)).all()


def test_what_is_no_background_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackgroundInvalid, match="no file and no colour"):
        read_background("greem")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(PictureUnreadable):
        read_background(str(tmp_path / "notes.txt"))


def test_a_matte_comes_back_from_a_drawing_over_black_and_one_over_white() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (32, 32, 3)).astype(float)
    matte = rng.integers(0, 256, (32, 32)).astype(float)
    matte[:8], matte[8:16] = 0, 255
    share = matte[..., None] / 255

    def over(back: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.rint(colours * share + back * (1 - share)).astype(np.uint8)

    found, alpha = cut_out(over(0.0), over(255.0))
    assert np.abs(alpha - matte).max() <= 1
    assert (found[:8] == 0).all() and (found[8:16] == colours[8:16]).all()
    again = found * (alpha[..., None] / 255) + 90 * (1 - alpha[..., None] / 255)
    assert np.abs(again - over(90.0)).max() <= 2
