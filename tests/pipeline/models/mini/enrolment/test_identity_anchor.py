"""Enrolment and painting: what a picture teaches, and that frames keep to it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED, fit_landmarks, thin_plate
from pipeline.models.mini.enrolment.picture_cut import cut_picture
from pipeline.models.mini.enrolment.posed_person import bundled_body, pose_person
from pipeline.models.mini.enrolment.surface import LAYERS
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.renderer import shading
from pipeline.models.mini.rig.fit import REF_DIM, Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import STATE_DIM
from tests.pictures import DRESSED, HALF, HEAD, PAINT, Model, Picture, psnr, rest_state

SIZE = 192
MORE = (
    "brow_inner_left", "brow_inner_right", "lid_upper_left", "lid_upper_right",
    "lid_lower_left", "lid_lower_right", "nose_ala_left", "nose_ala_right",
    "lip_upper_outer", "lip_lower_outer", "ear_lobe_left", "ear_lobe_right",
)  # fmt: skip
RAISED = {"left_flex": 0.5, "left_abduct": 0.3, "left_twist": 0.6, "left_elbow": 2.0}
AWAY = {"left_flex": 0.0, "left_abduct": 0.25, "left_twist": 0.0, "left_elbow": 0.1}


@cache
def half() -> tuple[Model, Picture, IdentityAnchor]:
    """A person at half length, the reference and its anchor."""
    model = Model(HALF, SIZE)
    picture = model.render(rest_state())
    fit = Fit(model.shape, rest_state(), HALF, DRESSED)
    return model, picture, build_anchor(picture, fit, SIZE, SIZE)


@cache
def face() -> tuple[Model, Picture, dict[str, tuple[float, float]]]:
    """A face that smiles a little, and its landmarks."""
    model = Model(HEAD, SIZE)
    pose = rest_state(mouthSmileLeft=0.5, mouthSmileRight=0.5, head_yaw=0.1, head_roll=0.05)
    return model, model.render(pose), model.landmarks(pose, REQUIRED + MORE)


def greenish(frame: Picture) -> NDArray[np.bool_]:
    """Pixels of the glove, which nothing else in the picture resembles."""
    red, green, blue = (frame[..., c].astype(int) for c in range(3))
    return np.asarray((green > red + 25) & (green > blue + 25))


def test_the_reference_state_reproduces_the_reference() -> None:
    _, picture, anchor = half()
    assert psnr(FrameRenderer(anchor).paint(rest_state()), picture) > 33


@pytest.mark.parametrize(
    "change",
    [
        {"head_yaw": 0.4, "head_roll": 0.15, "jawOpen": 0.5},
        RAISED,
        {"spine_yaw": 0.2, "spine_roll": 0.08, "head_pitch": -0.2},
    ],
)
def test_other_states_are_much_closer_to_the_truth_than_a_copy(change: dict[str, float]) -> None:
    model, picture, anchor = half()
    truth = model.render(rest_state(**change))
    assert psnr(FrameRenderer(anchor).paint(rest_state(**change)), truth) > psnr(picture, truth) + 6


def test_a_hand_in_front_of_the_chest_leaves_no_print_on_it() -> None:
    glove = dict(PAINT) | {"skin": (20, 200, 30), "nail": (20, 200, 30)}
    model = Model(HALF, SIZE, glove)
    raised, away = rest_state(**RAISED), rest_state(**AWAY)
    picture = model.render(raised)
    anchor = build_anchor(picture, Fit(model.shape, raised, HALF, DRESSED), SIZE, SIZE)
    wrong = greenish(FrameRenderer(anchor).paint(away)) & ~greenish(model.render(away))
    assert greenish(picture).sum() > 500
    assert wrong.sum() < 60  # borders of a pixel around the head and the hands


def test_layers_are_textured_by_their_own_pixels_alone() -> None:
    glove = dict(PAINT) | {"skin": (20, 200, 30), "nail": (20, 200, 30)}
    model = Model(HALF, SIZE, glove)
    raised = rest_state(**RAISED)
    anchor = build_anchor(model.render(raised), Fit(model.shape, raised, HALF, DRESSED), SIZE, SIZE)
    texture = anchor.texture.view(np.uint8).reshape(*anchor.texture.shape, 4)
    for name in ("clothes", "left_sleeve", "right_sleeve"):
        rows = (anchor.surface.layer == LAYERS.index(name)) & (anchor.vertices[:, shading.SEEN] > 0)
        x, y = anchor.vertices[rows][:, [shading.U, shading.V]].astype(int).T
        assert rows.any() and not greenish(texture[y, x, :3]).any()


def test_the_background_has_forgotten_the_person() -> None:
    model, _, anchor = half()
    behind = model.background.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    assert np.abs(anchor.plate - behind).mean() < 4


def test_a_closed_mouth_opens_on_a_dark_mouth() -> None:
    model, picture, anchor = half()
    opened = rest_state(jawOpen=0.8)
    truth = model.render(opened)
    lips = model.landmarks(opened, ("lip_upper_inner", "lip_lower_inner"))
    x = int(lips["lip_upper_inner"][0])
    y = round((lips["lip_upper_inner"][1] + lips["lip_lower_inner"][1]) / 2)
    painted = FrameRenderer(anchor).paint(opened)[y, x].astype(int)
    assert painted.mean() < picture[y - 14, x].mean()
    assert painted[0] > painted[1]
    box = np.s_[y - 9 : y + 10, x - 9 : x + 10]
    assert psnr(FrameRenderer(anchor).paint(opened)[box], truth[box]) > psnr(
        picture[box], truth[box]
    )


def test_what_was_never_seen_has_a_plausible_colour() -> None:
    _, _, anchor = half()
    rows = (anchor.surface.layer == LAYERS.index("skin")) & (anchor.vertices[:, shading.SEEN] == 0)
    colours = anchor.vertices[rows, shading.RED : shading.BLUE + 1]
    assert (colours[:, 0] > colours[:, 2]).mean() > 0.95
    assert colours.min() > 15


def test_loose_hair_beside_the_head_follows_it() -> None:
    model = Model(HEAD, SIZE)
    picture = model.render(rest_state())
    marks = model.landmarks(rest_state(), ("ear_top_left", "crown"))
    x, y = marks["ear_top_left"]
    yy, xx = np.mgrid[:SIZE, :SIZE]
    lock = (np.abs(xx - x - 8) < 8) & (np.abs(yy - y) < 22)
    mask = np.where(lock | (np.abs(picture.astype(int) - picture[0, 0]).sum(2) > 60), 255, 0)
    picture = picture.copy()
    picture[lock] = (20, 220, 20)
    fit = Fit(model.shape, rest_state(), HEAD, DRESSED)
    anchor = build_anchor(picture, fit, SIZE, SIZE, alpha=mask.astype(np.uint8))
    painter = FrameRenderer(anchor)
    still = np.nonzero(greenish(painter.paint(rest_state())))
    turned = rest_state(head_roll=-0.3)
    moved = np.nonzero(greenish(painter.paint(turned)))
    goal = model.landmarks(turned, ("ear_top_left",))["ear_top_left"]
    assert len(still[0]) > 100
    assert moved[1].mean() - still[1].mean() == pytest.approx(goal[0] - x, abs=3)
    assert moved[0].mean() - still[0].mean() == pytest.approx(goal[1] - y, abs=3)


def test_the_reference_vector_says_who_stands_where() -> None:
    model, _, anchor = half()
    assert anchor.reference.shape == (REF_DIM,) and anchor.reference.dtype == np.float32
    assert np.array_equal(anchor.reference[: len(model.shape)], model.shape)
    assert np.array_equal(anchor.reference[len(model.shape) :][:STATE_DIM], rest_state())
    assert np.allclose(anchor.reference[-6:], HALF.vector(), atol=1e-4)


def test_features_tell_people_apart() -> None:
    _, _, anchor = half()
    skin, clothes = (anchor.features[LAYERS.index(name)] for name in ("skin", "clothes"))
    assert np.isfinite(skin).all() and skin[0] > skin[2]
    assert clothes[2] > clothes[0]


def test_two_painters_on_two_threads_paint_as_one_does() -> None:
    _, _, anchor = half()
    poses = [rest_state(head_yaw=0.1 * i, jawOpen=0.1 * i) for i in range(6)]
    one = FrameRenderer(anchor)
    alone = [one.paint(pose) for pose in poses]
    painters = [FrameRenderer(anchor), FrameRenderer(anchor)]
    with ThreadPoolExecutor(1) as a, ThreadPoolExecutor(1) as b:
        jobs = [(a, b)[i % 2].submit(painters[i % 2].paint, pose) for i, pose in enumerate(poses)]
        together = [job.result() for job in jobs]
    assert all((x == y).all() for x, y in zip(alone, together, strict=True))


def test_painting_into_a_given_frame_leaves_nothing_of_it() -> None:
    _, _, anchor = half()
    painter = FrameRenderer(anchor)
    given = np.full((SIZE, SIZE, 3), 255, np.uint8)
    assert painter.paint(rest_state(), given) is given
    assert (given == painter.paint(rest_state())).all()
    with pytest.raises(ValueError, match="out must be uint8"):
        painter.paint(rest_state(), np.zeros((SIZE, SIZE, 4), np.uint8))


def test_states_that_cannot_be_painted_are_refused() -> None:
    _, _, anchor = half()
    with pytest.raises(ValueError, match="finite"):
        FrameRenderer(anchor).paint(np.full(STATE_DIM, np.nan, np.float32))
    with pytest.raises(ValueError, match="88"):
        FrameRenderer(anchor).paint(np.zeros(5, np.float32))


def test_wild_states_stay_in_the_frame() -> None:
    _, _, anchor = half()
    painter = FrameRenderer(anchor)
    for change in ({"root_z": 2.58}, {"root_z": 9.0}, {"root_x": 500.0}, {"root_y": -1e7}):
        frame = painter.paint(rest_state(**change))
        assert frame.shape == (SIZE, SIZE, 3)
    gone = painter.paint(rest_state(root_x=500.0))
    assert psnr(gone, anchor.plate) > 20


def test_a_wide_picture_is_cut_to_the_frame_around_the_person() -> None:
    model, picture, _ = half()
    wide = np.concatenate([picture[:, :1].repeat(100, 1), picture], 1)
    camera = replace(HALF, center_x=(0.5 * SIZE + 100) / (SIZE + 100))
    anchor = build_anchor(wide, Fit(model.shape, rest_state(), camera, DRESSED), SIZE, SIZE)
    assert psnr(FrameRenderer(anchor).paint(rest_state()), picture) > 28
    assert anchor.camera.center_x == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("size", "hands"),
    [((144, 256), [(0.72, 0.9), (0.81, 0.8)]), ((256, 144), [(0.4, 0.6), (0.6, 0.68)])],
)
def test_the_frame_is_laid_where_head_and_hands_are_in_it(
    size: tuple[int, int], hands: list[tuple[float, float]]
) -> None:
    model, picture, _ = half()
    posed = pose_person(Fit(model.shape, rest_state(), HALF, DRESSED), bundled_body())
    points = np.array(hands, np.float32) * SIZE
    plain = cut_picture(picture, None, posed, *size)
    shown = cut_picture(picture, None, posed, *size, points)
    assert not _inside(plain.places(points), size)
    assert _inside(shown.places(points), size)
    crown = posed.vertices[posed.vertices[:, 1] > posed.vertices[:, 1].max() - 0.2]
    assert _inside(shown.camera.project(crown, *size)[:, :2], size), "and the head stays in"


def _inside(points: np.ndarray, size: tuple[int, int]) -> bool:
    return bool(((points >= -0.5) & (points <= np.array(size) + 0.5)).all())


def test_pictures_that_cannot_be_enrolled_are_refused() -> None:
    model, picture, _ = half()
    fit = Fit(model.shape, rest_state(), HALF, DRESSED)
    with pytest.raises(ValueError, match="uint8"):
        build_anchor(picture.astype(np.float32), fit)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 64 px"):
        build_anchor(picture[:32, :32], fit)
    with pytest.raises(ValueError, match="mask"):
        build_anchor(picture, fit, alpha=np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="3"):
        build_anchor(picture, Fit(np.zeros(3, np.float32), rest_state(), HALF))
    with pytest.raises(ValueError, match="outside the picture"):
        build_anchor(picture, replace(fit, camera=replace(HALF, center_x=3.0)))


def test_a_fit_survives_its_text() -> None:
    _, _, landmarks = face()
    shape = np.random.default_rng(1).uniform(-1, 1, 62).astype(np.float32)
    fit = Fit(shape, rest_state(jawOpen=0.123), HEAD, DRESSED, landmarks, exact=False)
    again = Fit.from_json(fit.to_json())
    assert np.array_equal(again.shape, fit.shape) and np.array_equal(again.state, fit.state)
    assert (again.camera, again.wear, again.exact) == (fit.camera, fit.wear, fit.exact)
    assert dict(again.landmarks) == landmarks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format 1, got 9"),
        ({"shape": None}, "shape is a list"),
        ({"state": {"nose_wiggle": 1.0}}, "nose_wiggle"),
        ({"state": {"jawOpen": "wide"}}, "jawOpen is a finite number"),
        ({"camera": {"focal": 2.0}}, "camera lacks"),
        ({"extra": 1}, "unknown"),
        ({"wear": "coat"}, "wear is a list"),
        ({"landmarks": {"chin": [1]}}, "chin"),
        ({"exact": 1}, "exact is true or false"),
    ],
)
def test_texts_that_are_no_fits_are_refused(change: dict[str, object], message: str) -> None:
    document = json.loads(Fit(np.zeros(62, np.float32), rest_state(), HALF).to_json())
    with pytest.raises(ValueError, match=message):
        Fit.from_json(json.dumps(document | change))
    with pytest.raises(ValueError, match="not JSON"):
        Fit.from_json("{")


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Fit(np.full(62, np.nan, np.float32), rest_state(), HALF)
    with pytest.raises(ValueError, match=r"\(88,\)"):
        Fit(np.zeros(62, np.float32), np.zeros(5, np.float32), HALF)


def test_landmarks_of_a_rendered_face_are_fitted_closely() -> None:
    _, picture, landmarks = face()
    fit = fit_landmarks(picture, landmarks)
    person = Person(bundled_body(), fit.shape, fit.wear)
    points = fit.camera.project(person.pose(fit.state), SIZE, SIZE)
    marks = person.body.landmarks
    off = [np.hypot(*(points[marks[n], :2] - landmarks[n])) for n in landmarks]
    eyes = landmarks["eye_outer_left"][0] - landmarks["eye_outer_right"][0]
    assert np.mean(off) < 0.03 * eyes
    assert not fit.exact


def test_a_picture_of_ones_own_is_reproduced_and_moves() -> None:
    _, picture, landmarks = face()
    fit = fit_landmarks(picture, landmarks)
    painter = FrameRenderer(build_anchor(picture, fit, SIZE, SIZE))
    still = painter.paint(fit.state)
    assert psnr(still, picture) > 32
    opened = fit.state.copy()
    opened[3] = 0.7
    x, y = (int(v) for v in landmarks["lip_lower_outer"])
    change = np.abs(painter.paint(opened).astype(int) - still).sum(2)
    assert change[y - 5 : y + 12, x - 8 : x + 8].mean() > 20
    assert change[:20].mean() < 1


def test_landmarks_that_cannot_be_fitted_are_refused() -> None:
    _, picture, good = face()
    with pytest.raises(ValueError, match=r"missing: \['nose_tip', 'chin'\]"):
        fit_landmarks(picture, {n: p for n, p in good.items() if n not in ("chin", "nose_tip")})
    with pytest.raises(ValueError, match=r"outside the picture of 192 x 192: \['chin'\]"):
        fit_landmarks(picture, good | {"chin": (10.0, 400.0)})
    with pytest.raises(ValueError, match=r"unknown landmarks \['third_eye'\]"):
        fit_landmarks(picture, good | {"third_eye": (10.0, 10.0)})
    with pytest.raises(ValueError, match="too small"):
        fit_landmarks(picture, {n: (90 + 0.05 * x, 90 + 0.05 * y) for n, (x, y) in good.items()})
    with pytest.raises(ValueError, match="swapped"):
        fit_landmarks(picture, {n: (SIZE - x, y) for n, (x, y) in good.items()})


def test_a_thin_plate_is_exact_and_fades() -> None:
    rng = np.random.default_rng(4)
    centres, moves = rng.uniform(0, 100, (12, 2)), rng.uniform(-5, 5, (12, 2))
    assert np.allclose(thin_plate(centres, moves, centres, 40.0), moves, atol=1e-3)
    assert not thin_plate(centres, moves, np.array([[400.0, 400.0]]), 40.0).any()
    with pytest.raises(ValueError, match="at least 3"):
        thin_plate(centres[:2], moves[:2], centres, 40.0)
