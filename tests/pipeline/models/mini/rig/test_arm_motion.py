"""An arm's bones in the frame: where a gesture takes them, and that limits hold."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.rig.arm_motion import (
    BONES,
    CALM,
    DIRECTIONS,
    FINGER,
    FOREARM,
    HAND,
    UPPER,
    ArmBones,
    Gesture,
    held,
    transforms,
)
from pipeline.models.mini.rig.gesture import GestureReader, ready_to_speak
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES as SKELETON
from pipeline.models.mini.rig.state import INDEX, neutral

F32 = np.float32
WIDE = np.full(DIRECTIONS, 1e6, F32)


def point(x: float, y: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([x, y], F32)


def bones() -> ArmBones:
    fingers = np.array([[[100 + i, 180], [104 + i, 150]] for i in range(5)], F32)
    return ArmBones(point(80, 100), point(85, 240), point(100, 200), fingers, 600.0)


def moved(maps: np.ndarray, bone: int, place: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(maps[bone, :, :2] @ place + maps[bone, :, 2])


def test_an_arm_at_rest_stays_where_the_picture_shows_it() -> None:
    arm = bones()
    maps = transforms(arm, CALM, WIDE, arm.shoulder)
    assert np.allclose(maps, np.broadcast_to(np.eye(2, 3), (BONES, 2, 3)), atol=1e-4)


def test_a_wrist_goes_as_far_as_it_is_performed_and_the_bones_hang_together() -> None:
    arm = bones()
    maps = transforms(arm, Gesture(point(0.05, -0.1), 0.0, CALM.curls), WIDE, arm.shoulder)
    wrist = moved(maps, HAND, arm.wrist)
    assert np.allclose(wrist, arm.wrist + point(30, -60), atol=1e-2)
    assert np.allclose(moved(maps, FOREARM, arm.wrist), wrist, atol=1e-2)
    elbow = moved(maps, FOREARM, arm.elbow)
    assert np.allclose(moved(maps, UPPER, arm.elbow), elbow, atol=1e-2)
    assert np.allclose(moved(maps, UPPER, arm.shoulder), arm.shoulder, atol=1e-2)
    assert elbow[1] < arm.elbow[1], "a raised hand lifts its elbow"


def test_a_shoulder_that_is_carried_carries_the_whole_arm() -> None:
    arm = bones()
    maps = transforms(arm, CALM, WIDE, arm.shoulder + point(3, -2))
    for bone in range(BONES):
        assert np.allclose(moved(maps, bone, arm.wrist), arm.wrist + point(3, -2), atol=1e-3)


@pytest.mark.parametrize("far", [0.5, 1.0, 100.0])
def test_no_gesture_leaves_its_reach(far: float) -> None:
    reach = np.linspace(10, 40, DIRECTIONS).astype(F32)
    for angle in np.linspace(0, 6, 40):
        way = point(float(np.cos(angle)), float(np.sin(angle)))
        went = held(way * F32(far * 40), reach)
        assert np.hypot(*went) <= 40.001 and float(went @ way) > 0
    assert np.allclose(held(point(1, 0), WIDE), (1, 0), atol=1e-3), "small ones pass"


def test_hands_turn_little_and_fingers_shorten_little() -> None:
    arm = bones()
    maps = transforms(arm, Gesture(point(0, 0), 50.0, np.full(5, 50.0, F32)), WIDE, arm.shoulder)
    angle = np.arctan2(maps[HAND, 1, 0], maps[HAND, 0, 0])
    assert 0.3 < angle <= 0.5
    for number, (base, tip) in enumerate(arm.fingers):
        length = np.linalg.norm(
            moved(maps, FINGER + number, tip) - moved(maps, FINGER + number, base)
        )
        assert length / np.linalg.norm(tip - base) > 0.8


def test_gestures_are_read_against_the_rest_that_was_told() -> None:
    body = bundled_body()
    person, rest = Person(body, body.shape()), ready_to_speak(neutral(), ("left",))
    assert rest[INDEX["left_elbow"]] > 1 and rest[INDEX["right_elbow"]] == 0
    reader = GestureReader(person, rest)
    assert np.allclose(reader.read(rest)["left"].wrist, 0, atol=1e-6)
    raised = rest.copy()
    raised[INDEX["left_elbow"]] += 0.5
    raised[INDEX["left_index_curl"]] += 0.4
    gesture = reader.read(raised)["left"]
    assert gesture.wrist[1] < -0.05, "up is up in the frame"
    assert gesture.curls[1] == pytest.approx(0.1, abs=1e-4)
    assert np.allclose(reader.read(raised)["right"].wrist, 0, atol=1e-6)


def test_joints_are_where_the_posed_surface_has_them() -> None:
    body = bundled_body()
    person, state = Person(body, body.shape()), neutral()
    state[INDEX["right_elbow"]] = 1.3
    wrist = person.joint_places(state)[SKELETON.index("wrist.R")]
    mark = person.pose(state)[body.landmarks["wrist_right"]]
    assert np.linalg.norm(wrist - mark) < 0.05
