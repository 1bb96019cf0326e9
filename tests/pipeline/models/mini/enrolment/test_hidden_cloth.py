"""What no picture shows: cloth, mouths, hands, lids and shadows that are made up."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import (
    background,
    contact_shadows,
    hidden_cloth,
    mouth_interior,
    skin,
    texture_atlas,
)
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.surface import LAYERS, Surface
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.renderer import lighting, shading
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.fit import Fit
from tests.pictures import DRESSED, HALF, HEAD, Model, rest_state

SIZE = 192


@cache
def head() -> tuple[Model, IdentityAnchor]:
    model = Model(HEAD, SIZE)
    fit = Fit(model.shape, rest_state(), HEAD, DRESSED)
    return model, build_anchor(model.render(rest_state()), fit, SIZE, SIZE)


@cache
def surface() -> Surface:
    return Surface.of(head()[0].person)


def rows_of(anchor: IdentityAnchor, layer: str) -> NDArray[np.bool_]:
    return np.asarray(anchor.surface.layer == LAYERS.index(layer))


def test_a_kernel_and_an_array_agree_about_brightness() -> None:
    rng = np.random.default_rng(3)
    normals = rng.normal(size=(50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    terms = rng.uniform(-0.2, 0.2, lighting.TERMS).astype(np.float32)
    one_by_one = [lighting.brightness_at.py_func(*normal, terms) for normal in normals]
    assert np.allclose(lighting.brightness(normals, terms), one_by_one, atol=1e-5)
    with pytest.raises(ValueError, match="5"):
        lighting.brightness(normals, np.zeros(5, np.float32))


def test_a_light_is_found_again_in_what_it_lit() -> None:
    rng = np.random.default_rng(4)
    normals = rng.normal(size=(4000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    true = np.array([-0.2, 0.2, 0.1, 0.05, 0, 0, 0.1, 0.05], np.float32)
    colours = 150 * lighting.brightness(normals, true)[:, None] * np.ones(3, np.float32)
    found = lighting.estimate(colours, normals, np.zeros(4000, int))
    ratio = lighting.brightness(normals, found) / lighting.brightness(normals, true)
    assert np.std(ratio / ratio.mean()) < 0.04


def test_cloth_goes_on_from_what_is_seen_and_keeps_it() -> None:
    mine = surface()
    position = head()[0].person.rest[mine.vertex][:, :2].astype(np.float32)
    sure = head()[0].person.rest[mine.vertex][:, 2] > 0
    bright = np.ones(len(position), np.float32)
    twin = mine.mirrored(head()[0].person.body.mirror)
    out = hidden_cloth.continued(mine, twin, position, bright, sure)
    cloth = np.isin(mine.layer, [LAYERS.index(n) for n in ("clothes", "left_sleeve")])
    assert out.found[cloth].mean() > 0.95
    kept = cloth & sure
    assert np.allclose(out.position[kept], position[kept])
    for axis in (0, 1):
        low, high = position[kept][:, axis].min(), position[kept][:, axis].max()
        assert low - 1e-3 <= out.position[cloth][:, axis].min()
        assert out.position[cloth][:, axis].max() <= high + 1e-3


def test_a_sleeve_that_nobody_saw_takes_its_twins_cloth() -> None:
    mine = surface()
    position = head()[0].person.rest[mine.vertex][:, :2].astype(np.float32)
    left = mine.layer == LAYERS.index("left_sleeve")
    right = mine.layer == LAYERS.index("right_sleeve")
    twin = mine.mirrored(head()[0].person.body.mirror)
    bright = np.ones(len(position), np.float32)
    out = hidden_cloth.continued(mine, twin, position, bright, left)
    assert out.found[right].mean() > 0.9
    assert np.allclose(out.position[right], out.position[twin[right]])


def test_holes_are_filled_with_the_grain_around_them_and_nothing_else_changes() -> None:
    rng = np.random.default_rng(5)
    picture = np.full((60, 60, 3), 100, np.float32) + rng.normal(0, 6, (60, 60, 1)).astype("f4")
    known = np.ones((60, 60), bool)
    known[20:40, 20:40] = False
    grain = background.detail(picture, known, 4.0)
    assert not grain[known].any()
    assert grain[22:38, 22:38].std() > 2


def test_teeth_are_told_apart_and_darken_backwards() -> None:
    piece = mouth_interior.teeth_piece(2.0)
    wide = piece.shape[1]
    crown = piece[len(piece) // 4].mean(1)
    middle = crown[int(0.4 * wide) : int(0.6 * wide)]
    dips = (middle[1:-1] < middle[:-2]) & (middle[1:-1] <= middle[2:])
    assert dips.sum() >= 3
    assert crown[2] < 0.5 * crown[wide // 2 - 4 : wide // 2 + 4].max()


def test_teeth_lie_in_their_piece_from_one_side_to_the_other() -> None:
    model = head()[0]
    rows, at = mouth_interior.teeth_position(model.person, surface(), 100, 20)
    assert len(rows) and at.min() >= 0 and at[:, 0].max() <= 100 and at[:, 1].max() <= 20
    side = model.person.rest[surface().vertex[rows], 0]
    assert np.corrcoef(side, at[:, 0])[0, 1] > 0.9


def test_a_mouth_is_darker_the_deeper_it_is() -> None:
    model = head()[0]
    rows, colours = mouth_interior.colours(model.person, surface(), 1.0)
    tongue = surface().material[rows] == MATERIALS.index("tongue")
    depth = -model.person.rest[surface().vertex[rows], 2]
    assert np.corrcoef(depth[tongue], colours[tongue].mean(1))[0, 1] < -0.8


def test_hands_have_palms_nails_and_knuckles_of_the_colour_of_their_skin() -> None:
    person, mine = head()[0].person, surface()
    flat = np.full((len(mine.vertex), 3), (180.0, 140.0, 120.0), np.float32)
    shaded = skin.shaded(person, mine, flat, 0.9)
    hand = np.isin(mine.layer, [LAYERS.index("left_skin"), LAYERS.index("right_skin")])
    assert shaded[hand].std(0).min() > 1
    assert np.abs(shaded[hand] / flat[hand] - 1).max() < 0.35
    assert (shaded[hand].argmax(1) == 0).all()


def test_closing_lids_hide_what_the_picture_shows_of_open_ones() -> None:
    _, anchor = head()
    folds = anchor.folds
    assert (folds.follow[:, 0].max(), folds.follow[:, 1].max(), folds.follow[:, 2].max()) == (
        1,
        1,
        1,
    )
    shut = skin.unfolded(rest_state(eyeBlinkLeft=1.0))
    assert shut.tolist() == [1, 0, 0]
    assert not skin.unfolded(rest_state(jawOpen=0.3, mouthClose=0.3))[2]


def test_closed_lids_have_the_colour_of_the_skin_around() -> None:
    model, anchor = head()
    closed = rest_state(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    frame = FrameRenderer(anchor).paint(closed).astype(float)
    names = ("lid_upper_left", "brow_mid_left", "cheek_left")
    marks = model.landmarks(closed, names)
    x, y = marks["lid_upper_left"]
    brow = marks["brow_mid_left"][1]
    lid = frame[int(y - 0.4 * (y - brow)), int(x)]
    cheek = frame[int(marks["cheek_left"][1]), int(marks["cheek_left"][0])]
    assert np.abs(lid / cheek - 1).max() < 0.25


def test_an_arm_before_the_chest_takes_light_from_it_and_none_in_its_own_picture() -> None:
    model = Model(HALF, SIZE)
    person, mine = model.person, Surface.of(model.person)
    rest = person.pose(rest_state())
    touch = contact_shadows.build(person, mine, rest, person.normals(rest))
    table = np.ones((len(mine.vertex), shading.VERTEX_WIDTH), np.float32)
    now = np.empty_like(touch.taken)
    contact_shadows.darken(touch, rest, person.normals(rest), now, shading.SHADE, table)
    assert np.allclose(table[:, shading.SHADE], 1)
    near = {"left_flex": 0.5, "left_abduct": 0.1, "left_twist": 0.8, "left_elbow": 1.9}
    raised = person.pose(rest_state(**near))
    contact_shadows.darken(touch, raised, person.normals(raised), now, shading.SHADE, table)
    chest = mine.layer[touch.rows] == LAYERS.index("clothes")
    shaded = table[touch.rows[chest], shading.SHADE]
    assert 0.45 < shaded.min() < 0.9 and (shaded > 0.98).mean() > 0.4


def test_an_atlas_grows_downwards() -> None:
    small = texture_atlas.Atlas(
        np.zeros((4, 6, 4), np.uint8), np.zeros((1, 2), np.float32), np.ones(1, np.float32),
        np.zeros((len(LAYERS), 2), np.float32), np.zeros(len(LAYERS), np.float32),
    )  # fmt: skip
    grown, top = texture_atlas.with_piece(small, np.full((3, 9, 3), 200, np.float32))
    assert top == 4 and grown.texture.shape == (7, 9, 4)
    assert (grown.texture[4:, :, :3] == 200).all() and not grown.texture[:4, :6, :3].any()
