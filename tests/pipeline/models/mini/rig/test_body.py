"""The parametric body against what pipeline/models/mini/rig/state.py says a state means."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.rig.body import MATERIALS, WEAR, Body
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import FACE_UNITS, INDEX, NAMES, STATE_DIM, neutral, state

Floats = NDArray[np.float32]
SWAPPED_SIGN = {
    "gaze_yaw", "head_yaw", "head_roll", "spine_yaw", "spine_roll", "root_x",
}  # fmt: skip


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.load()


@pytest.fixture(scope="module")
def person(body: Body) -> Person:
    return Person(body, body.shape())


@pytest.fixture(scope="module")
def people(body: Body) -> list[Person]:
    rng = np.random.default_rng(3)
    shapes = []
    for gender in (0.0, 0.0, 1.0, 1.0):
        shape = body.shape(gender=gender, age=rng.random(), weight=rng.random() * 0.8)
        shape[10:] = rng.normal(0, 0.25, len(shape) - 10).clip(-1, 1)
        shapes.append(shape)
    return [Person(body, shape) for shape in shapes]


def at(person: Person, vertices: Floats, name: str) -> Floats:
    return np.asarray(vertices[person.body.landmarks[name]])


def moved(person: Person, landmark: str, **values: float) -> Floats:
    """How a landmark moves from the zero state, metres."""
    posed, still = person.pose(state(**values)), person.pose(neutral())
    return at(person, posed, landmark) - at(person, still, landmark)


def other_side(name: str) -> str:
    for one, two in (("left", "right"), ("Left", "Right")):
        for a, b in ((one, two), (two, one)):
            if name.startswith(f"{a}_"):
                return b + name.removeprefix(a)
            if name.endswith(a):
                return name.removesuffix(a) + b
    return name


def mirrored(values: Floats) -> Floats:
    out = neutral()
    for name in NAMES:
        sign = -1 if name in SWAPPED_SIGN else 1
        out[INDEX[other_side(name)]] = sign * values[INDEX[name]]
    return out


# The zero state


def test_the_zero_state_stands_upright_with_the_feet_on_the_floor(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(neutral())
        assert vertices[person.body.vertices_of("skin"), 1].min() == pytest.approx(0, abs=1e-5)
        crown = at(person, vertices, "crown")
        assert 1.35 < crown[1] < 2.2
        assert crown[0] == pytest.approx(0, abs=1e-4)


def test_arms_hang_with_the_hands_beside_the_thighs(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(neutral())
        shoulder, elbow, wrist, tip = (
            at(person, vertices, f"{name}_left")
            for name in ("shoulder", "elbow", "wrist", "middle_tip")
        )
        assert shoulder[1] > elbow[1] > wrist[1] > tip[1]
        hip = person.skeleton.joints[:, 1].max() * 0.5
        assert abs(wrist[1] - hip) < 0.25
        assert tip[0] > 0.1
        assert abs(tip[0] - wrist[0]) < 0.12


def test_palms_face_the_thighs_thumbs_to_the_front(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(neutral())
        index, little = (at(person, vertices, f"{n}_tip_left") for n in ("index", "little"))
        thumb = at(person, vertices, "thumb_tip_left")
        assert index[2] > little[2]
        assert thumb[2] > index[2]
        assert abs(index[0] - little[0]) < abs(index[2] - little[2])


def test_wrists_hang_outside_the_thighs(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(neutral())
        legs = np.isin(person.body.bone[:, 0], _bones("upperleg"))
        legs[person.body.vertices_of("skirt")] = False
        wrist = at(person, vertices, "wrist_left")
        beside = legs & (np.linalg.norm(vertices[:, 1:] - wrist[1:], axis=1) < 0.03)
        assert wrist[0] > vertices[beside, 0].max(initial=0.0)


def _bones(prefix: str) -> list[int]:
    from pipeline.models.mini.rig.skeleton import BONES

    return [i for i, name in enumerate(BONES) if name.startswith(prefix)]


def test_the_neutral_face_has_closed_lips_and_open_eyes(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(neutral())
        assert person.lip_gap(vertices) < 5e-4
        upper, lower = (
            at(person, vertices, "lid_upper_left"),
            at(person, vertices, "lid_lower_left"),
        )
        assert upper[1] - lower[1] > 0.004


# Symmetry and arithmetic


def test_a_mirrored_state_gives_mirrored_vertices(body: Body, person: Person) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        values = rng.normal(0, 0.3, STATE_DIM).astype(np.float32)
        one, two = person.pose(values), person.pose(mirrored(values))
        assert np.abs(two[body.mirror] * [-1, 1, 1] - one).max() < 2e-5


def test_the_mirror_map_is_its_own_inverse(body: Body) -> None:
    assert np.array_equal(body.mirror[body.mirror], np.arange(body.vertex_count))


@pytest.mark.parametrize("name", sorted(set(FACE_UNITS) - {"mouthClose"}))
def test_face_units_are_linear_and_move_the_face_alone(person: Person, name: str) -> None:
    still = person.pose(neutral())
    half, full = (
        person.pose(state(**{name: 0.5})) - still,
        person.pose(state(**{name: 1.0})) - still,
    )
    assert np.abs(full - 2 * half).max() < 1e-6
    assert np.abs(full).max() > 1e-3
    assert np.abs(full[still[:, 1] < 1.2]).max() == 0


def test_posing_is_deterministic_and_shared_by_threads(person: Person) -> None:
    rng = np.random.default_rng(1)
    states = rng.normal(0, 0.3, (32, STATE_DIM)).astype(np.float32)
    alone = [person.pose(s) for s in states]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(person.pose, states))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_posing_into_out_allocates_no_surface(person: Person) -> None:
    out, zero = np.empty((person.body.vertex_count, 3), np.float32), neutral()
    person.pose(zero, out)
    tracemalloc.start()
    try:
        assert person.pose(zero, out) is out
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < out.nbytes / 10


# Angles, as pipeline/models/mini/rig/state.py documents them


@pytest.mark.parametrize(
    ("values", "landmark", "axis", "sign"),
    [
        ({"head_yaw": 0.3}, "nose_tip", 0, 1),
        ({"head_pitch": 0.3}, "nose_tip", 1, 1),
        ({"head_roll": 0.3}, "crown", 0, 1),
        ({"spine_yaw": 0.3}, "nose_tip", 0, 1),
        ({"spine_pitch": -0.3}, "crown", 2, 1),
        ({"spine_roll": 0.3}, "crown", 0, 1),
        ({"gaze_yaw": 0.3}, "pupil_left", 0, 1),
        ({"gaze_pitch": 0.3}, "pupil_right", 1, 1),
        ({"clavicle_lift_left": 0.3}, "shoulder_left", 1, 1),
        ({"clavicle_forward_left": 0.3}, "shoulder_left", 2, 1),
        ({"left_flex": 0.5}, "middle_tip_left", 2, 1),
        ({"left_abduct": 0.5}, "middle_tip_left", 0, 1),
        ({"right_abduct": 0.5}, "middle_tip_right", 0, -1),
        ({"left_twist": 0.5}, "thumb_tip_left", 0, -1),
        ({"left_elbow": 0.5}, "wrist_left", 2, 1),
        ({"left_forearm": 0.5}, "thumb_tip_left", 0, -1),
        ({"left_wrist_flex": 0.5}, "middle_tip_left", 0, -1),
        ({"right_wrist_flex": 0.5}, "middle_tip_right", 0, 1),
        ({"left_wrist_dev": 0.3}, "middle_tip_left", 2, 1),
        ({"left_index_curl": 0.4}, "index_tip_left", 0, -1),
        ({"left_thumb_oppose": 0.5}, "thumb_tip_left", 0, -1),
        ({"left_spread": 1.0}, "index_tip_left", 2, 1),
        ({"left_spread": 1.0}, "little_tip_left", 2, -1),
        ({"breath": 1.0}, "shoulder_left", 1, 1),
        ({"root_x": 0.05}, "crown", 0, 1),
        ({"jawOpen": 0.5}, "chin", 1, -1),
        ({"mouthSmileLeft": 1.0}, "mouth_corner_left", 1, 1),
        ({"browInnerUp": 1.0}, "brow_inner_left", 1, 1),
    ],
)  # fmt: skip
def test_the_sign_of(
    person: Person, values: dict[str, float], landmark: str, axis: int, sign: int
) -> None:
    assert sign * moved(person, landmark, **values)[axis] > 8e-4


def test_a_bent_forearm_pronates_palm_down(person: Person) -> None:
    palm_in = person.pose(state(left_elbow=1.57))
    palm_down = person.pose(state(left_elbow=1.57, left_forearm=1.57))
    for vertices, vertical in ((palm_in, True), (palm_down, False)):
        index, little = (at(person, vertices, f"{n}_tip_left") for n in ("index", "little"))
        across = np.abs(index - little)
        assert bool(across[1] > across[0]) is vertical


def test_a_fist_brings_the_finger_tips_to_the_palm(person: Person) -> None:
    curls = {f"left_{finger}_curl": 1.0 for finger in ("index", "middle", "ring", "little")}
    fist, flat = person.pose(state(**curls)), person.pose(neutral())
    for finger in ("index", "middle", "ring", "little"):
        reach = [
            np.linalg.norm(at(person, v, f"{finger}_tip_left") - at(person, v, "wrist_left"))
            for v in (flat, fist)
        ]
        assert reach[1] < 0.75 * reach[0]


def test_swaying_leaves_the_feet_planted(person: Person) -> None:
    still = person.pose(neutral())
    shift = person.pose(state(root_x=0.06, root_z=0.03)) - still
    assert np.abs(shift[still[:, 1] < 0.03]).max() < 1e-3
    assert at(person, shift, "neck_pit") == pytest.approx([0.06, 0, 0.03], abs=1e-4)


def test_a_shrug_lifts_the_hanging_arm_rather_than_swinging_it(person: Person) -> None:
    lift = moved(person, "middle_tip_left", clavicle_lift_left=0.3)
    assert lift[1] > 0.015
    assert abs(lift[0]) < 0.09


# The face at its limits


def test_a_blink_closes_the_lids(people: list[Person]) -> None:
    for person in people:
        vertices = person.pose(state(eyeBlinkLeft=1.0, eyeBlinkRight=1.0))
        for side in ("left", "right"):
            for part in ("", "_inner", "_outer"):
                upper = at(person, vertices, f"lid_upper{part}_{side}")
                lower = at(person, vertices, f"lid_lower{part}_{side}")
                assert upper[1] - lower[1] < 1.2e-3


def test_a_blink_closes_the_lids_wherever_the_eyes_look(person: Person) -> None:
    blink = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    closed = person.pose(state(**blink))
    lids = [v for k, v in person.body.landmarks.items() if k.startswith("lid_")]
    for gaze in ({"gaze_pitch": 0.5}, {"gaze_pitch": -0.5}, {"gaze_yaw": 0.5}):
        assert person.pose(state(**blink, **gaze))[lids] == pytest.approx(closed[lids], abs=1e-6)


def test_gaze_turns_the_eyeballs_in_place(person: Person) -> None:
    eyes = person.body.vertices_of("eye", "iris", "pupil")
    still, looking = person.pose(neutral()), person.pose(state(gaze_yaw=0.4, gaze_pitch=-0.2))
    left = eyes[still[eyes, 0] > 0]
    center = person.skeleton.joints[_bones("eye.L")[0]]
    radii = [np.linalg.norm(v[left] - center, axis=1) for v in (still, looking)]
    assert np.abs(radii[0] - radii[1]).max() < 2e-5


def test_the_jaw_opens_the_lips_and_takes_lower_teeth_and_tongue(people: list[Person]) -> None:
    for person in people:
        still, wide = person.pose(neutral()), person.pose(state(jawOpen=1.0))
        assert person.lip_gap(wide) > 0.025
        drop = (wide - still)[:, 1]
        teeth = person.body.vertices_of("teeth")
        lower = drop[teeth] < -0.005
        assert 0.4 < lower.mean() < 0.6
        assert drop[person.body.vertices_of("tongue")].mean() < -0.01


@pytest.mark.parametrize("opening", [0.2, 0.6, 1.0])
def test_closed_lips_stay_closed_over_an_open_jaw(people: list[Person], opening: float) -> None:
    for person in people:
        vertices = person.pose(state(jawOpen=opening, mouthClose=1.0))
        assert person.lip_gap(vertices) < 1.5e-3


# Shapes and clothes


def test_named_parameters_do_what_they_say(body: Body) -> None:
    def height(**values: float) -> float:
        person = Person(body, body.shape(**values))
        return float(at(person, person.pose(neutral()), "crown")[1])

    def mouth(**values: float) -> float:
        vertices = body.rest(body.shape(**values))
        corners = [vertices[body.landmarks[f"mouth_corner_{s}"], 0] for s in ("left", "right")]
        return float(corners[0] - corners[1])

    assert height(gender=1.0) > height(gender=0.0) + 0.05
    assert height(height=0.8) > height(height=0.5) > height(height=0.2)
    assert mouth(mouth_width=1.0) > mouth() > mouth(mouth_width=-1.0)


def test_the_three_origins_are_normalised(body: Body) -> None:
    one = body.rest(body.shape(african=0.2, asian=0.2, caucasian=0.2))
    two = body.rest(body.shape(african=0.9, asian=0.9, caucasian=0.9))
    assert np.abs(one - two).max() < 1e-6


def test_garments_are_worn_one_by_one(body: Body) -> None:
    bare = Person(body, body.shape(), wear=())
    dressed = Person(body, body.shape(), wear={"top_short", "bottom"})
    names = {MATERIALS[m] for m in np.unique(dressed.material)}
    assert {"top", "bottom", "skin"} <= names
    assert not {"sleeve", "collar", "shoes", "hair", "skirt"} & names
    assert not {MATERIALS[m] for m in np.unique(bare.material)} & {
        p for w in WEAR.values() for p in w
    }


def test_worn_clothes_hide_the_skin_below_them(body: Body) -> None:
    def skin(wear: set[str]) -> int:
        person = Person(body, body.shape(), wear=wear)
        return int((person.material == MATERIALS.index("skin")).sum())

    assert skin({"top_long"}) < skin({"top_short"}) < skin(set())


def test_normals_are_unit_and_point_outwards(person: Person) -> None:
    vertices = person.pose(neutral())
    normals = person.normals(vertices)
    used = np.unique(person.faces)
    assert np.abs(np.linalg.norm(normals[used], axis=1) - 1).max() < 1e-4
    assert at(person, normals, "nose_tip")[2] > 0.8


def test_no_triangle_degenerates_on_anyone(people: list[Person]) -> None:
    for person in people:
        corners = person.pose(neutral())[person.faces].astype(np.float64)
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
        assert sides.max() < 0.15
        assert np.isfinite(corners).all()


# What is refused


def test_wrong_shapes_are_refused_by_number(body: Body, person: Person) -> None:
    with pytest.raises(ValueError, match=r"88 numbers.*\(87,\)"):
        person.pose(np.zeros(87, np.float32))
    with pytest.raises(ValueError, match=rf"{body.vertex_count}, 3.*\(5, 3\)"):
        person.pose(neutral(), np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match=rf"{len(body.shape_names)} numbers.*\(4,\)"):
        Person(body, np.zeros(4))


def test_unknown_names_are_refused(body: Body) -> None:
    with pytest.raises(KeyError, match="wings"):
        body.shape(wings=1.0)
    with pytest.raises(ValueError, match="cape"):
        Person(body, body.shape(), wear={"cape"})


def test_a_shape_must_be_finite(body: Body) -> None:
    shape = body.shape()
    shape[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        body.rest(shape)
