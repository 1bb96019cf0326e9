"""The pinhole: what is where in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.mini.rig.camera import Camera


def points(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_the_looked_at_point_is_on_the_optical_axis() -> None:
    camera = Camera(look_y=1.4, distance=2.0)
    assert camera.project(points((0, 1.4, 0)), 640, 480) == pytest.approx(
        np.array([[320, 240, 2.0]])
    )


def test_the_persons_left_is_image_right_and_up_is_up() -> None:
    x, y, _ = Camera().project(points((0.1, 1.5, 0)), 512, 512)[0]
    assert x > 256
    assert y < 256


def test_nearer_things_are_larger_and_less_deep() -> None:
    far, near = Camera().project(points((0.1, 1.4, 0), (0.1, 1.4, 1)), 512, 512)
    assert near[0] > far[0]
    assert near[2] < far[2]


def test_focal_is_in_picture_heights() -> None:
    camera = Camera(focal=2.0, distance=2.0)
    tall = camera.project(points((0, 1.4, 0), (0, 1.5, 0)), 100, 1000)
    assert tall[0, 1] - tall[1, 1] == pytest.approx(100, abs=1e-2)


def test_the_centre_moves_the_picture_by_its_own_size() -> None:
    plain, moved = Camera(), Camera(center_x=0.6, center_y=0.4)
    shift = moved.project(points((0.1, 1.2, 0)), 200, 100) - plain.project(
        points((0.1, 1.2, 0)), 200, 100
    )
    assert shift[0] == pytest.approx([20, -10, 0], abs=1e-3)


def test_looking_up_moves_the_picture_down() -> None:
    level, up = Camera(), Camera(pitch=0.1)
    point = points((0, 1.4, 0))
    assert up.project(point, 512, 512)[0, 1] > level.project(point, 512, 512)[0, 1]


def test_a_pitched_camera_keeps_distances_along_its_axis() -> None:
    camera = Camera(pitch=0.3, distance=2.0, look_y=1.0)
    ahead = points((0, 1 + np.sin(0.3), 2 - np.cos(0.3)))
    assert camera.project(ahead, 512, 512)[0] == pytest.approx([256, 256, 1.0], abs=1e-3)


def test_six_numbers_round_trip() -> None:
    camera = Camera(1.5, 0.4, 0.6, 3.0, 1.2, -0.1)
    assert Camera.from_vector(camera.vector()).vector() == pytest.approx(camera.vector())


@pytest.mark.parametrize(("number", "value"), [("focal", 0.0), ("distance", -1.0)])
def test_impossible_cameras_are_refused_by_number(number: str, value: float) -> None:
    with pytest.raises(ValueError, match=str(value)):
        Camera(**{number: value})


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        Camera(pitch=float("nan"))


def test_wrong_shapes_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        Camera().project(np.zeros((5, 2), np.float32), 10, 10)
    with pytest.raises(ValueError, match=r"6 numbers.*\(5,\)"):
        Camera.from_vector(np.zeros(5))
