"""The bundled people: their files agree with one another, and their fits with their pictures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.avatars import AVATARS, BundledAvatar, catalogue
from pipeline.consent.registry import Kind
from pipeline.models.mini.rig.body import Body
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX
from training.portraits import cloth_pieces, smooth
from training.portraits.figure import Surface

PEOPLE = sorted(catalogue())
SIZE = 192  # px at which outlines are compared
FACE = ("nose_tip", "chin", "eye_outer_left", "eye_outer_right", "mouth_corner_left", "forehead")
HAIR_AND_FOLDS = 0.88  # of the outline the body must explain; strands and folds are the rest


@cache
def body() -> Body:
    return Body.load()


@cache
def posed(name: str) -> tuple[Fit, NDArray[np.float32], NDArray[np.int32]]:
    fit = Fit.from_json(avatar(name).fit.read_text("utf-8"))
    person = Person(body(), fit.shape, fit.wear)
    return fit, person.pose(fit.state), person.faces


def avatar(name: str) -> BundledAvatar:
    return BundledAvatar(name, AVATARS / name)


@cache
def picture(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(avatar(name).reference).convert("RGB"))


def marks(name: str, size: int = 1024) -> dict[str, NDArray[np.float32]]:
    fit, vertices, _ = posed(name)
    points = fit.camera.project(vertices, size, size)
    return {mark: points[i] for mark, i in body().landmarks.items()}


def brightness(name: str, at: NDArray[np.float32], reach: int = 1) -> float:
    x, y = int(at[0]), int(at[1])
    return float(picture(name)[y - reach : y + reach + 1, x - reach : x + reach + 1].mean())


def test_there_are_several_people_and_mira_is_one() -> None:
    assert len(PEOPLE) >= 4
    assert "mira" in PEOPLE


def test_people_are_women_and_men_of_several_ages_half_and_full_body() -> None:
    cards = [avatar(name).card() for name in PEOPLE]
    assert {card["presents"] for card in cards} == {"woman", "man"}
    assert {card["framing"] for card in cards} == {"half-body", "full-body"}
    ages = [card["age"] for card in cards]
    assert min(ages) < 35 and max(ages) > 55


@pytest.mark.parametrize("name", PEOPLE)
def test_a_folder_is_complete_and_small(name: str) -> None:
    folder = AVATARS / name
    with Image.open(folder / "reference.jpg") as reference:
        assert reference.size == (1024, 1024)
    with Image.open(folder / "mask.png") as mask:
        assert mask.size == (1024, 1024) and mask.mode == "L"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("name", PEOPLE)
def test_a_card_and_a_record_name_the_picture_that_is_there(name: str) -> None:
    card, record = avatar(name).card(), avatar(name).consent()
    assert card["name"] == name and card["synthetic"] is True
    assert card["reference_sha256"] == avatar(name).image_sha256() == record.image_sha256
    assert record.kind is Kind.SYNTHETIC


@pytest.mark.parametrize("name", PEOPLE)
def test_the_face_lies_inside_the_picture_with_room_above(name: str) -> None:
    points = marks(name)
    for mark in FACE:
        assert 0 < points[mark][0] < 1024 and 0 < points[mark][1] < 1024
    assert points["crown"][1] > 40


@pytest.mark.parametrize("name", PEOPLE)
def test_pupils_are_dark_where_the_fit_says(name: str) -> None:
    points = marks(name)
    for side in ("left", "right"):
        skin = brightness(name, points[f"cheek_{side}"], 3)
        assert brightness(name, points[f"pupil_{side}"], 1) < 0.75 * skin


@pytest.mark.parametrize("name", PEOPLE)
def test_lips_meet_in_a_dark_line_within_two_pixels_of_the_fit(name: str) -> None:
    points = marks(name)
    meet = (points["lip_upper_inner"] + points["lip_lower_inner"]) / 2
    lip = (points["lip_lower_inner"] + points["lip_lower_outer"]) / 2
    x, y = int(meet[0]), int(meet[1])
    column = picture(name)[y - 2 : y + 3, x].mean(1)
    assert column.min() < 0.75 * brightness(name, lip, 0)


@pytest.mark.parametrize("name", PEOPLE)
def test_the_mask_is_the_outline_of_the_fitted_body(name: str) -> None:
    fit, vertices, faces = posed(name)
    points = fit.camera.project(vertices, SIZE, SIZE)[:, :2]
    drawn = Image.new("1", (SIZE, SIZE))
    pen = ImageDraw.Draw(drawn)
    for corners in points[faces].reshape(len(faces), 6).tolist():
        pen.polygon(corners, fill=1)
    with Image.open(AVATARS / name / "mask.png") as stored:
        mask = np.asarray(stored.resize((SIZE, SIZE), Image.Resampling.BOX)) > 127
    outline = np.asarray(drawn)
    assert (outline & mask).sum() > HAIR_AND_FOLDS * (outline | mask).sum()


@pytest.mark.parametrize("name", PEOPLE)
def test_a_person_waits_with_closed_mouth_and_open_eyes(name: str) -> None:
    fit, vertices, _ = posed(name)
    assert fit.exact and fit.state[INDEX["jawOpen"]] < 0.05
    assert fit.state[INDEX["eyeBlinkLeft"]] < 0.2 and fit.state[INDEX["eyeBlinkRight"]] < 0.2
    assert Person(body(), fit.shape, fit.wear).lip_gap(vertices) < 0.003


def test_the_bundled_fits_are_those_of_the_cast() -> None:
    pytest.importorskip("bpy", reason="the cast needs Blender's module")
    from training.portraits.characters import CAST
    from training.portraits.portrait_render import Set

    for name in PEOPLE:
        assert Set().fit(CAST[name]).to_json() == posed(name)[0].to_json()


CUBE = np.array(
    [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32
)  # fmt: skip
SIDES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32
)


def grid(n: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A flat square of n x n quads."""
    y, x = np.mgrid[0 : n + 1, 0 : n + 1]
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
    k = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
    return points, np.stack([k, k + 1, k + n + 2, k + n + 1], 1).astype(np.int32)


def test_subdivision_quadruples_quads_and_keeps_a_plane_flat() -> None:
    points, faces = grid(3)
    net = smooth.subdivide(faces, len(points), 2)
    dense = net.smooth(points)
    assert len(net.faces) == 16 * len(faces)
    assert np.abs(dense[:, 2]).max() == 0
    assert dense[:, :2].min() == pytest.approx(0, abs=1e-6)


def test_a_subdivided_cube_stays_symmetric_about_its_centre() -> None:
    dense = smooth.subdivide(SIDES, 8, 3).smooth(CUBE)
    assert dense.mean(0) == pytest.approx([0.5, 0.5, 0.5], abs=1e-6)
    assert np.ptp(dense, axis=0) == pytest.approx(np.full(3, np.ptp(dense[:, 0])), abs=1e-6)


def test_the_solved_cage_gives_a_surface_through_the_given_points() -> None:
    net = smooth.subdivide(SIDES, 8, 2)
    shrunk = np.abs(net.smooth(CUBE)[:8] - CUBE).max()
    assert np.abs(net.through(CUBE, rounds=40)[:8] - CUBE).max() < 0.01 * shrunk


def test_cloth_is_cut_exactly_along_its_line() -> None:
    points, faces = grid(4)
    cloth = Surface(points, faces, points, points[:, :2])
    cut = cloth_pieces.clip(cloth, lambda place: place[:, 0] - 1.3)
    assert cut.points[:, 0].max() == pytest.approx(1.3, abs=1e-6)
    a, b, c = (cut.points[cut.faces[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert area == pytest.approx(1.3 * 4, rel=1e-5)


def test_the_rim_of_a_cut_is_one_chain_on_its_line() -> None:
    points, faces = grid(4)

    def field(place: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(place[:, 0] + 0.2 * place[:, 1] - 1.9, np.float32)

    cut = cloth_pieces.clip(Surface(points, faces, points, points[:, :2]), field)
    chains = cloth_pieces.rims(cut, field)
    assert len(chains) == 1
    assert np.abs(field(cut.place[chains[0]])).max() < 1e-5
    assert sorted(cut.place[chains[0]][[0, -1], 1]) == pytest.approx([0, 4])
