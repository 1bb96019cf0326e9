"""Photographs taken apart: arms of known layers go where a performance says, and no further."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.landmarkers import Side
from pipeline.models.mini.enrolment import arm_limits
from pipeline.models.mini.enrolment.arm_limits import limited
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.person_parts import ArmLayer, Layer, PersonParts
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.renderer.limb_warp import Limb
from pipeline.models.mini.rig.arm_motion import (
    CALM,
    DIRECTIONS,
    FOREARM,
    TORSO,
    Gesture,
    together,
)
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX, SLICES
from tests.pictures import DRESSED, HALF, Model, Picture, psnr, rest_state, state

pytestmark = pytest.mark.timeout(400)  # the first one may have to compile kernels

SIZE = 192
SLEEVE, SKIN = (40, 160, 60), (230, 60, 200)  # like nothing else in the picture
JOINTS: dict[Side, tuple[tuple[int, int], ...]] = {
    "left": ((124, 84), (132, 140), (140, 118)),
    "right": ((68, 84), (60, 140), (52, 118)),
}


def arm_layer(side: Side, size: int = SIZE) -> ArmLayer:
    """A bar from shoulder to elbow, and a bar with a round hand before it."""
    shoulder, elbow, wrist = (np.array(at, float) for at in JOINTS[side])
    outwards = np.sign(elbow[0] - SIZE / 2)
    tips = wrist + np.array([[outwards * (4 + i), -12 + 2 * i] for i in range(5)])
    hand = np.concatenate([wrist[None], *[np.linspace(wrist, tip, 5)[1:] for tip in tips]])
    y, x = np.mgrid[:size, :size] + 0.5

    def bar(a: NDArray[np.float64], b: NDArray[np.float64], wide: float) -> NDArray[np.float64]:
        share = ((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) @ (b - a))
        share = np.clip(share, 0, 1)
        far = np.hypot(x - a[0] - share * (b - a)[0], y - a[1] - share * (b - a)[1])
        return np.clip(wide - far + 0.5, 0, 1)

    upper, lower = bar(shoulder, elbow, 9), np.maximum(bar(elbow, wrist, 7), bar(wrist, tips[2], 8))

    def layer(alpha: NDArray[np.float64], colour: tuple[int, int, int]) -> Layer:
        rgb = np.broadcast_to(np.array(colour, np.uint8), (*alpha.shape, 3))
        return Layer(np.dstack([rgb, (alpha * 255).astype(np.uint8)]), (0, 0))

    places = [(float(at[0]), float(at[1])) for at in (shoulder, elbow, wrist)]
    return ArmLayer(
        side, layer(upper, SLEEVE), layer(lower, SKIN), *places, hand.astype(np.float32),
    )  # fmt: skip


@cache
def composed(
    sides: tuple[Side, ...] = ("left", "right"), empty: tuple[str, ...] = ()
) -> tuple[Picture, IdentityAnchor]:
    """A person whose arms are those bars, and the anchor of the picture.

    Of left arms the layers named in ``empty`` show nothing.
    """
    model = Model(HALF, SIZE)
    down = state()
    body, plate = model.render(down), model.background[::2, ::2].copy()
    matte = (np.abs(body.astype(int) - plate).sum(2) > 12).astype(np.float32)
    rgba = np.dstack([body, (matte * 255).astype(np.uint8)])
    arms = {side: arm_layer(side) for side in sides}
    nothing = dict.fromkeys(empty, Layer(np.zeros((1, 1, 4), np.uint8), (0, 0)))
    arms = {s: replace(arm, **nothing) if s == "left" else arm for s, arm in arms.items()}
    parts = PersonParts(plate, rgba, arms, matte)
    picture = parts.composed()
    fit = Fit(model.shape, down, HALF, DRESSED, exact=False)
    return picture, build_anchor(picture, fit, SIZE, SIZE, parts=parts)


def rest(anchor: IdentityAnchor) -> NDArray[np.float32]:
    """The state that the generator takes for this person's rest."""
    return anchor.rest_state.copy()


def raised(anchor: IdentityAnchor, side: str, by: float = 0.4) -> NDArray[np.float32]:
    out = rest(anchor)
    out[INDEX[f"{side}_elbow"]] += by
    return out


def skin(frame: Picture) -> NDArray[np.bool_]:
    red, green, blue = (frame[..., c].astype(int) for c in range(3))
    return np.asarray((red > green + 90) & (blue > green + 70))


def test_the_pose_of_the_picture_is_the_picture() -> None:
    picture, anchor = composed()
    assert psnr(FrameRenderer(anchor).paint(rest(anchor)), picture) > 36


def test_a_performed_hand_takes_its_hand_along_and_no_other() -> None:
    _, anchor = composed()
    painter = FrameRenderer(anchor)
    still, moved = skin(painter.paint(rest(anchor))), skin(painter.paint(raised(anchor, "left")))
    left, right = np.s_[:, SIZE // 2 :], np.s_[:, : SIZE // 2]
    assert np.nonzero(moved[left])[0].mean() < np.nonzero(still[left])[0].mean() - 4
    assert (moved[right] == still[right]).mean() > 0.999


def test_a_moved_arm_stays_whole_and_leaves_no_print() -> None:
    _, anchor = composed()
    frame = FrameRenderer(anchor).paint(raised(anchor, "left", 0.6))
    still = FrameRenderer(anchor).paint(rest(anchor))
    area = skin(still).sum()
    assert 0.8 * area < skin(frame).sum() < 1.5 * area
    bare = FrameRenderer(replace(anchor, arms=())).paint(raised(anchor, "left", 0.6))
    sleeve = frame[..., 1].astype(int) - np.maximum(frame[..., 0], frame[..., 2]) > 20
    gone = ndimage.binary_erosion(skin(still) & ~skin(frame) & ~sleeve, iterations=2)
    assert gone.sum() > 40, "the hand has left its place"
    assert np.abs(frame[gone].astype(int) - bare[gone]).max() <= 2, "what was behind it is seen"


def test_a_body_that_the_frame_cuts_off_reaches_its_border_however_it_moves() -> None:
    picture, square = composed()
    whole = np.full(picture.shape[:2], 255, np.uint8)
    parts = PersonParts(picture, np.dstack([picture, whole]), {}, whole / np.float32(255))
    anchor = build_anchor(picture, square.fit, SIZE, SIZE // 2, parts=parts)
    state, painter = rest(anchor), FrameRenderer(anchor)
    state[INDEX["spine_roll"]] += 1.0
    over = [painter.paint(state, plate=grey).astype(int) for grey in (0, 255)]
    bare = np.abs(over[0] - over[1]).max(-1)
    assert bare[SIZE // 4 :].max() <= 2, "nothing behind is seen at the sides and the bottom"
    assert np.abs(over[0] - painter.paint(rest(anchor))).max() > 40, "and yet it moves"


def test_arms_that_are_not_in_a_frame_stay_with_the_body() -> None:
    alpha = np.full((4, 4, 1), 128, np.uint8)
    red, blue = (np.tile(np.array(c, np.uint8), (4, 4, 1)) for c in ((255, 0, 0), (0, 0, 255)))
    nothing = Layer(np.zeros((1, 1, 4), np.uint8), (0, 0))
    arm = replace(arm_layer("left"), upper=Layer(np.dstack([blue, alpha]), (0, 0)), lower=nothing)
    body = np.dstack([red, alpha])
    parts = PersonParts(red, body, {"left": arm}, np.ones((4, 4), np.float32))
    assert (parts.body_with(()) == body).all()
    merged = parts.body_with(("left",))
    assert merged[2, 2].tolist() == pytest.approx([85, 0, 170, 192], abs=2)


def test_wild_performances_stay_within_what_the_picture_bears() -> None:
    _, anchor = composed()
    painter = FrameRenderer(anchor)
    for change in ({"left_elbow": 9.0}, {"left_flex": -40.0}, {"right_abduct": 30.0}):
        wild = rest(anchor)
        for name, value in change.items():
            wild[INDEX[name]] += value
        frame = painter.paint(wild)
        assert not skin(frame)[:1].any() and not skin(frame)[:, :1].any()
        assert skin(frame).sum() > 300, "both hands are still to be seen"


def test_the_background_is_the_plate_however_arms_move() -> None:
    _, anchor = composed()
    painter = FrameRenderer(anchor)
    for by in (0.0, 0.3, 0.6):
        frame = painter.paint(raised(anchor, "right", by))
        assert (frame[:30, :30] == anchor.plate[:30, :30]).all()


def test_equal_states_are_equal_frames() -> None:
    _, anchor = composed()
    wanted = raised(anchor, "left")
    painter = FrameRenderer(anchor)
    first = painter.paint(wanted)
    painter.paint(rest(anchor))
    assert (painter.paint(wanted) == first).all()
    assert (FrameRenderer(anchor).paint(wanted) == first).all()


def test_a_frame_asks_once_where_the_joints_are(monkeypatch: pytest.MonkeyPatch) -> None:
    _, anchor = composed()
    painter, asked, plain = FrameRenderer(anchor), [], Person.joint_places
    monkeypatch.setattr(Person, "joint_places", lambda *a: (asked.append(1), plain(*a))[1])
    painter.paint(raised(anchor, "left"))
    assert len(asked) == 1


def test_the_person_is_told_what_moves_and_what_does_not() -> None:
    _, anchor = composed()
    assert anchor.notes == ("moves: face, head, shoulders, left hand, right hand",)
    _, one = composed(("left",))
    assert one.notes[0].endswith("shoulders, left hand")
    assert one.notes[1].startswith("right hand stays: the picture does not show it")
    assert not one.rest_state[SLICES["right_arm"]].any(), "it is told of no such hand"


def test_an_arm_of_which_the_frame_shows_no_hand_is_none_and_that_is_said() -> None:
    _, anchor = composed(("left", "right"), ("lower",))
    assert [arm.side for arm in anchor.arms] == ["right"]
    assert anchor.notes[0].endswith("shoulders, right hand")
    assert anchor.notes[1].startswith("left hand stays: the picture does not show it")


def test_an_arm_whose_upper_part_is_hidden_moves_all_the_same() -> None:
    _, anchor = composed(("left", "right"), ("upper",))
    assert [len(arm.limbs) for arm in anchor.arms] == [1, 2]
    assert FrameRenderer(anchor).paint(raised(anchor, "left")).any()


def test_hands_without_room_stay_with_the_reason() -> None:
    _, anchor = composed()
    everywhere = np.array([[-999, -999], [999, 999]], np.float32)
    found = limited(anchor.arms, everywhere, SIZE, SIZE)
    assert found.still == dict.fromkeys(("left", "right"), "the hand would cover the face")
    assert not any(arm.moves for arm in found.arms)


def test_hands_that_touch_go_together() -> None:
    _, anchor = composed()
    left, right = anchor.arms
    shift = left.bones.wrist - right.bones.wrist
    near = replace(right.bones, wrist=left.bones.wrist, fingers=right.bones.fingers + shift)
    nowhere = np.full((1, 2), -99, np.float32)
    apart = limited((left, right), nowhere, SIZE, SIZE).arms
    both = limited((left, replace(right, bones=near)), nowhere, SIZE, SIZE).arms
    assert not any(arm.joined for arm in apart)
    assert all(arm.joined for arm in both) and (both[0].reach == both[1].reach).all()
    one, other = (Gesture(np.array([x, 0.1], np.float32), 0.3, CALM.curls + 1) for x in (0, 0.2))
    same = together([one, other])
    assert np.allclose(same.wrist, (0.1, 0.1)) and same.turn == 0 and not same.curls.any()


def test_an_arm_that_the_frame_cuts_off_never_shows_its_cut() -> None:
    _, anchor = composed()
    left = anchor.arms[0]
    cut = int(left.bones.elbow[1]) - 8
    limbs = tuple(ended(limb, cut) for limb in left.limbs)
    nowhere = np.full((1, 2), -99, np.float32)
    found = limited((replace(left, limbs=limbs),), nowhere, SIZE, cut)
    up = 3 * DIRECTIONS // 4
    assert found.arms[0].reach[up] < 0.04 * SIZE < left.reach[up]


def test_a_sleeve_that_would_tear_holds_its_arm_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its pieces hang together elsewhere."""
    monkeypatch.setattr(arm_limits, "_PIECE", 0.0)
    monkeypatch.setattr(arm_limits, "_BRIDGE", 0.0)
    _, anchor = composed()
    left, column = anchor.arms[0], 128
    upper, lower = left.limbs
    halves = (kept(upper, np.s_[:column], TORSO), kept(upper, np.s_[column:], FOREARM))
    nowhere = np.full((1, 2), -99, np.float32)
    torn = limited((replace(left, limbs=(*halves, lower)),), nowhere, SIZE, SIZE).arms[0]
    assert torn.reach[0] < 0.5 * left.reach[0], "outwards, where the halves part"


def kept(limb: Limb, columns: slice, bone: int) -> Limb:
    """Some of the frame's columns of a layer, all on one bone."""
    texture, sheet = limb.sheet.texture.copy(), limb.sheet
    at = np.arange(texture.shape[1]) / sheet.texels + sheet.corner[0]
    own = np.zeros(SIZE, bool)
    own[columns] = True
    texture[:, ~own[np.clip(at.astype(int), 0, SIZE - 1)]] = 0
    weights = np.zeros_like(limb.weights)
    weights[:, bone] = 1
    return Limb(replace(sheet, texture=texture), weights)


def ended(limb: Limb, row: int) -> Limb:
    """The layer with nothing below a row of the frame."""
    texture, first = limb.sheet.texture.copy(), limb.sheet.corner[1]
    texture[max(0, round((row - first) * limb.sheet.texels)) :] = 0
    return replace(limb, sheet=replace(limb.sheet, texture=texture))


def test_bundled_people_have_no_layers_of_arms() -> None:
    model = Model(HALF, SIZE)
    pose = rest_state()
    anchor = build_anchor(model.render(pose), Fit(model.shape, pose, HALF, DRESSED), SIZE, SIZE)
    assert anchor.arms == () and anchor.notes == ()
