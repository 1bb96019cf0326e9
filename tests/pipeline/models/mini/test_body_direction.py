"""How much the body moves, and cues: lips are left alone, nothing jumps, eyes keep their look."""

import numpy as np
import pytest

from pipeline.interface import EMOTIONS, GESTURES, Cue, Direction
from pipeline.models.mini import body_cues
from pipeline.models.mini.body_direction import WAITING, BodyDirection
from pipeline.models.mini.rig.state import INDEX, MOUTH, PARTS, SLICES, STATE_DIM, neutral

FRAMES = 200
ARMS = slice(SLICES["left_arm"].start, SLICES["right_arm"].stop)


@pytest.fixture
def talk() -> np.ndarray:
    """Eight seconds of swinging values, (frames, 88)."""
    at = np.arange(FRAMES)[:, None] / 25
    phase = np.random.default_rng(0).uniform(0, 6, STATE_DIM)
    return (0.3 + 0.12 * np.sin(2 * np.pi * 0.7 * at + phase)).astype(np.float32)


def performed(talk: np.ndarray, direction: Direction, rest: np.ndarray | None = None) -> np.ndarray:
    body = BodyDirection(neutral() if rest is None else rest, direction)
    return np.stack([body(state, k) for k, state in enumerate(talk)])


def speed(states: np.ndarray) -> float:
    return float(np.abs(np.diff(states[:, ARMS], axis=0)).mean())


def test_as_generated_is_as_generated_to_the_bit(talk: np.ndarray) -> None:
    assert np.array_equal(performed(talk, Direction()), talk)


def test_less_gesture_is_less_motion_of_the_body_and_none_is_the_pictures_pose(
    talk: np.ndarray,
) -> None:
    rest = neutral()
    rest[ARMS] = 0.2
    speeds = [speed(performed(talk, Direction(g), rest)) for g in (0.0, 0.5, 1.0, 1.5)]
    assert speeds[0] < 1e-6 and speeds[1] == pytest.approx(0.5 * speeds[2], rel=0.01)
    assert speeds[3] > 1.3 * speeds[2]
    assert np.allclose(performed(talk, Direction(0.0), rest)[-1, ARMS], 0.2, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.5])
def test_lips_lids_and_breath_do_not_follow_the_scale(talk: np.ndarray, scale: float) -> None:
    kept = [INDEX[name] for name in (*MOUTH, *PARTS["upper_face"][:-2], "breath")]
    assert np.allclose(performed(talk, Direction(scale))[:, kept], talk[:, kept], atol=1e-6)


def test_eyes_look_where_they_did_while_the_head_moves_less(talk: np.ndarray) -> None:
    turns = [INDEX[name] for name in ("gaze_yaw", "head_yaw", "spine_yaw")]
    still = performed(talk, Direction(0.0))
    assert np.allclose(still[:, turns].sum(1), talk[:, turns].sum(1), atol=1e-5)
    assert np.allclose(still[:, INDEX["head_yaw"]], 0.0, atol=1e-5)


def test_a_new_scale_glides_in(talk: np.ndarray) -> None:
    body, out = BodyDirection(neutral()), []
    for k, state in enumerate(talk):
        body.scale = 0.0 if k >= 50 else 1.0
        out.append(body(state, k))
    steps = np.abs(np.diff(np.stack(out)[:, ARMS], axis=0))
    assert steps[49:60].max() < 0.12, "a third of the way at once would be 0.1 to 0.4"
    assert np.abs(out[-1][ARMS]).max() < 0.01


def test_every_cue_that_the_interface_names_is_there() -> None:
    assert set(body_cues.GESTURES) == set(GESTURES)
    assert set(body_cues.EMOTIONS) == set(EMOTIONS)


@pytest.mark.parametrize("name", [*GESTURES, *EMOTIONS])
def test_a_cue_shows_around_its_time_and_leaves_no_trace_and_no_jump(
    talk: np.ndarray, name: str
) -> None:
    at = 32_000
    cue = Cue(gesture=name, at=at) if name in GESTURES else Cue(emotion=name, at=at)
    calm = np.broadcast_to(neutral(), (FRAMES, STATE_DIM)) + 0.05
    cued = performed(calm.astype(np.float32), Direction(1.0, (cue,)))
    moved = np.abs(cued - calm).max(1)
    assert moved[50:65].max() > 0.1, "it is there at its time"
    assert moved[: 50 - 25].max() < 1e-6 and moved[-8:].max() < 1e-6
    assert np.abs(np.diff(cued, axis=0)).max() < 0.45


def test_a_cue_whose_time_has_passed_comes_as_soon_as_it_can_be_prepared() -> None:
    body = BodyDirection(neutral())
    body.cue(Cue(gesture="nod", at=0), now=25 * 640)
    pitch = [body(neutral(), k)[INDEX["head_pitch"]] for k in range(25, 60)]
    assert abs(pitch[0]) < 0.02 and min(pitch) < -0.15 and int(np.argmin(pitch)) in range(6, 10)


def test_cues_that_wait_have_a_bound() -> None:
    body = BodyDirection(neutral())
    for k in range(1000):
        body.cue(Cue(gesture="nod", at=16_000 * k), now=0)
    assert len(body._begun) == WAITING


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"gesture": "bow"}, "nod, shrug"),
        ({"emotion": "angry"}, "warm, serious"),
        ({}, "a gesture or an emotion"),
        ({"gesture": "nod", "at": -1}, "from 0 on"),
    ],
)
def test_a_cue_that_cannot_be_performed_says_what_can(fields: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Cue(**fields)


@pytest.mark.parametrize("scale", [-0.1, 1.6, float("nan")])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1\.5"):
        Direction(scale)
