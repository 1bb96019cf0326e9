"""A picture taken apart: the layers are the picture, and no layer holds what is not its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.landmarkers import Side
from pipeline.models.mini.enrolment import arm_regions
from pipeline.models.mini.enrolment.layer_colours import settled
from pipeline.models.mini.enrolment.person_parts import ArmLayer, Layer, PersonParts
from pipeline.models.mini.enrolment.take_apart import take_apart
from tests.pipeline.models.mini.enrolment.figure import SIDE, SKIN, WALL, Figure, painted

pytestmark = pytest.mark.timeout(400)  # the first one may have to compile kernels

F32 = NDArray[np.float32]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return painted()


@pytest.fixture(scope="module")
def parts(figure: Figure) -> PersonParts:
    return take_apart(figure.picture, figure.points)


def _alpha(layer: Layer) -> F32:
    """A layer's alpha in the whole picture."""
    out = np.zeros((SIDE, SIDE), np.float32)
    (x, y), (high, wide) = layer.origin, layer.pixels.shape[:2]
    out[y : y + high, x : x + wide] = layer.pixels[..., 3] / 255
    return out


def _overlap(found: F32, true: F32) -> float:
    a, b = found > 0.5, true > 0.5
    return float((a & b).sum() / (a | b).sum())


def _decibel(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    error = np.square(first.astype(float) - second).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_layers_in_their_places_are_the_picture_again(figure: Figure, parts: PersonParts) -> None:
    assert _decibel(parts.composed(), figure.picture) > 38


def test_the_matte_is_the_persons_to_the_pixel(figure: Figure, parts: PersonParts) -> None:
    assert _overlap(parts.matte, figure.person) > 0.97
    assert np.abs(parts.matte - figure.person).mean() < 0.012


def test_forearm_and_hand_are_found_as_they_are(figure: Figure, parts: PersonParts) -> None:
    lower = _alpha(parts.arms["left"].lower)
    assert _overlap(lower, figure.lower) > 0.85


def test_an_arms_layer_shows_nothing_of_the_wall(parts: PersonParts) -> None:
    for layer in (parts.arms["left"].upper, parts.arms["left"].lower):
        seen = layer.pixels[layer.pixels[..., 3] > 200][:, :3].astype(float)
        walls = [np.linalg.norm(seen - colour, axis=1) < 30 for colour in WALL]
        assert np.any(walls, axis=0).mean() < 0.01


def test_nothing_of_an_arm_lies_outside_of_the_matte(parts: PersonParts) -> None:
    outside = parts.matte < 0.01
    for layer in (parts.arms["left"].upper, parts.arms["left"].lower):
        assert _alpha(layer)[outside].max() < 0.02


def test_the_body_without_its_arm_has_no_hand(figure: Figure, parts: PersonParts) -> None:
    hand = figure.lower > 0.5
    shown = (parts.body[..., 3] > 128) & hand
    skin = np.linalg.norm(parts.body[..., :3] - np.array(SKIN, float), axis=2) < 40
    assert (shown & skin).sum() < 0.02 * hand.sum()


def test_the_plate_goes_on_as_the_wall_does(figure: Figure, parts: PersonParts) -> None:
    near = (figure.person > 0.02) & (np.indices((SIDE, SIDE))[1] > 225)
    error = np.abs(parts.plate.astype(float) - figure.wall)[near].mean()
    assert error < 12  # a grey in place of the stripes is off by 20
    kept = figure.person < 0.001
    assert (parts.plate == figure.picture)[kept].mean() > 0.95


def test_an_arm_whose_hand_was_not_found_stays_in_the_body(figure: Figure) -> None:
    alone = replace(figure.points, hands={})
    parts = take_apart(figure.picture, alone)
    assert not parts.arms
    assert _overlap(parts.body[..., 3] / np.float32(255), figure.person) > 0.95


def test_a_trunk_that_an_arm_cuts_in_two_stays_the_trunk(figure: Figure) -> None:
    shares = np.zeros((3, SIDE, SIDE), np.float32)
    shares[arm_regions.TRUNK] = 0.6
    shares[2, 200:230] = 0.9  # a forearm from rim to rim
    person = np.zeros((SIDE, SIDE), np.float32)
    person[60:, 130:190] = 1
    found = arm_regions.labels(figure.picture, shares, person, figure.points.body)
    assert (found[60:195, 130:190] == arm_regions.TRUNK).all()
    assert (found[202:228, 130:190] == 2).all()
    assert (found[235:, 130:190] == arm_regions.TRUNK).all()


def test_an_elbow_that_was_not_found_is_not_left_on_the_wall(figure: Figure) -> None:
    rows, columns = np.indices((SIDE, SIDE))
    elbow = np.hypot(columns - 224, rows - 212) < 16
    missed = replace(figure.points, mask=np.where(elbow, 0, figure.points.mask))
    plate = take_apart(figure.picture, missed).plate.astype(float)
    near = elbow & (figure.person > 0.9)
    walls = np.min([np.linalg.norm(plate[near] - colour, axis=1) for colour in WALL], axis=0)
    assert (walls > 60).mean() < 0.02


def test_a_person_who_fills_the_picture_leaves_it_as_its_own_plate(figure: Figure) -> None:
    everywhere = replace(figure.points, mask=np.ones((SIDE, SIDE), np.float32), hands={})
    parts = take_apart(figure.picture, everywhere)
    assert parts.matte.min() > 0.9
    assert (parts.plate == figure.picture).all()


def test_borders_before_which_a_later_arm_lies_keep_their_own_colours() -> None:
    """Of the first arm's soft border the picture shows only what the second arm covers."""
    size, hand = 64, np.zeros((21, 2), np.float32)
    plate = np.full((size, size, 3), 90, np.uint8)
    none = np.zeros((size, size, 4), np.uint8)

    def arm(side: Side, colour: tuple[int, int, int], alpha: int, columns: slice) -> ArmLayer:
        pixels = none.copy()
        pixels[:, columns] = *colour, alpha
        empty, at = Layer(none[:1, :1], (0, 0)), (0.0, 0.0)
        return ArmLayer(side, empty, Layer(pixels, (0, 0)), at, at, at, hand)

    arms: dict[Side, ArmLayer] = {
        "left": arm("left", (20, 200, 20), 128, slice(10, 40)),
        "right": arm("right", (220, 40, 200), 255, slice(20, 60)),
    }
    parts = PersonParts(plate, none, arms, np.ones((size, size), np.float32))
    first = settled(parts.composed(), parts).arms["left"].lower
    assert np.abs(first.pixels[:, 10:40, :3].astype(int) - (20, 200, 20)).max() <= 2


def test_a_mask_of_another_size_is_refused(figure: Figure) -> None:
    wrong = replace(figure.points, mask=figure.points.mask[:-1])
    with pytest.raises(ValueError, match="does not fit"):
        take_apart(figure.picture, wrong)


def test_a_picture_without_a_person_is_refused(figure: Figure) -> None:
    nobody = replace(figure.points, mask=np.zeros((SIDE, SIDE), np.float32), hands={})
    with pytest.raises(ValueError, match="no person"):
        take_apart(figure.wall, nobody)
