"""Turned squares, boxes that overlap: places go to where they belong and back."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.landmarkers.boxes import blended, overlap
from pipeline.landmarkers.crops import Square, around, whole


def test_places_of_a_crop_lie_in_the_picture_as_it_is_turned() -> None:
    square = Square(40.0, 25.0, 30.0, np.pi / 2)  # its upper edge is the picture's right
    places = square.to_picture(np.array([[0.5, 0.5], [0.5, 0.0], [1.0, 0.5]]))
    assert np.allclose(places, [[40, 25], [55, 25], [40, 40]], atol=1e-5)


@pytest.mark.parametrize("side", [32.0, 200.0])
def test_a_crop_shows_what_lies_under_its_places(side: float) -> None:
    y, x = np.mgrid[:240, :300]
    picture = np.stack([x * 255 / 300, y * 255 / 240, 0 * x], -1).astype(np.uint8)
    square = Square(150.0, 120.0, side, 0.3)
    crop = square.cut(picture, 64).astype(float)
    for place in ([0.3, 0.4], [0.7, 0.6]):
        column, row = (np.array(place) * 64).astype(int)
        at = square.to_picture((np.array([column, row]) + 0.5) / 64)
        assert np.allclose(crop[row, column, :2], at * (255 / 300, 255 / 240), atol=2.5)


def test_what_a_crop_saw_is_laid_back_where_it_was() -> None:
    square = Square(60.0, 40.0, 40.0, np.pi / 2)
    values = np.zeros((256, 256), np.float32)
    values[:128] = 1  # the crop's upper half is the picture's right one
    laid = square.spread(values, 80, 120)
    assert laid[40, 72] > 0.99 and laid[40, 48] < 0.01 and laid[5, 5] == 0


def test_a_square_around_points_is_as_large_as_they_are_far_apart_in_its_own_axes() -> None:
    points = np.array([[0, 0], [10, 10]], float)
    assert np.isclose(around(points, 0.0).side, 10)
    assert np.isclose(around(points, np.pi / 4).side, np.hypot(10, 10))
    assert whole(np.zeros((30, 50, 3), np.uint8)) == Square(25, 15, 50)


def test_boxes_that_overlap_become_their_mean_by_score_and_others_stay() -> None:
    boxes = np.array([[[0, 0], [1, 1]], [[0.1, 0], [1.1, 1]], [[5, 5], [6, 6]]], np.float32)
    assert np.allclose(overlap(boxes[0], boxes), [1, 0.9 / 1.1, 0])
    (sure, mean), (other, alone) = blended(np.array([0.9, 0.6, 0.7], np.float32), boxes)
    assert np.isclose(sure, 0.9) and np.isclose(other, 0.7)
    assert np.allclose(mean[0, 0], 0.1 * 0.6 / 1.5) and np.allclose(alone, boxes[2])
