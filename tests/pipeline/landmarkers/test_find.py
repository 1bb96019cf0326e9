"""People in pictures: the bundled ones, whose bodies, masks and hands are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import AVATARS
from pipeline.landmarkers import Person, Tracker, bodies, boxes, find_people
from pipeline.landmarkers.crops import whole

Pixels = np.ndarray
NAMES = sorted(path.name for path in AVATARS.iterdir() if (path / "fit.json").is_file())


@cache
def picture(name: str, side: int = 512) -> Pixels:
    file = next((AVATARS / name).glob("reference.*"))
    return np.asarray(Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BOX))


@cache
def person(name: str) -> Person:
    (one,) = find_people(picture(name))
    return one


@pytest.mark.parametrize("name", NAMES)
def test_each_bundled_person_is_found_once_with_both_hands(name: str) -> None:
    one = person(name)
    assert one.face.score > 0.99 and one.body.score > 0.9
    assert set(one.hands) == {"left", "right"}
    left, right = (one.hands[side].points[0, 0] for side in ("left", "right"))
    assert left > right, "the person's left is on the picture's right"
    for side, hand in one.hands.items():
        wrist = one.body.points[bodies.WRISTS[side], :2]
        gap = np.linalg.norm(hand.points[0, :2] - wrist) / bodies.shoulder_width(one.body)
        assert gap < 0.6 and hand.presence > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_is_the_person(name: str) -> None:
    truth = np.asarray(Image.open(AVATARS / name / "mask.png").convert("L").resize((512, 512)))
    mask = person(name).mask.at(512, 512) > 0.5
    both, either = mask & (truth > 127), mask | (truth > 127)
    assert both.sum() / either.sum() > 0.9


def test_the_face_looks_ahead_and_its_parts_are_in_their_places() -> None:
    face = person("mira").face
    assert max(map(abs, (face.yaw, face.roll))) < 0.25
    right_iris, left_iris = face.points[468], face.points[473]
    assert right_iris[0] < left_iris[0]
    nose, upper_lip, chin = face.points[1], face.points[13], face.points[152]
    assert right_iris[1] < nose[1] < upper_lip[1] < chin[1]
    assert face.eyes == pytest.approx(np.linalg.norm(face.points[263] - face.points[33]))


def test_a_mirrored_picture_has_its_sides_and_turns_mirrored() -> None:
    (mirrored,) = find_people(np.ascontiguousarray(picture("omar")[:, ::-1]))
    one = person("omar")
    assert set(mirrored.hands) == set(one.hands)
    assert abs(mirrored.face.yaw + one.face.yaw) < 0.08
    assert np.abs(511 - mirrored.face.points[1, 0] - one.face.points[1, 0]) < 3


@pytest.mark.parametrize("size", [(360, 640), (900, 400)])
def test_places_are_px_of_the_picture_whatever_its_shape(size: tuple[int, int]) -> None:
    high, wide = size
    canvas = np.full((high, wide, 3), 90, np.uint8)
    canvas[20:340, 30:350] = picture("lucia", 320)
    (one,) = find_people(canvas)
    moved = person("lucia").face.points[:, :2] * 320 / 512 + (30, 20)
    assert np.median(np.linalg.norm(one.face.points[:, :2] - moved, axis=1)) < 3


def test_nobody_is_found_where_nobody_is() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    y, x = np.mgrid[:300, :400]
    leaves = np.stack([np.sin(x / 5) * np.sin(y / 7), np.cos(x / 9 + y / 6), 0 * x], -1)
    empty = np.asarray(Image.fromarray(picture("kenji")).crop((0, 0, 90, 90)).resize((400, 400)))
    for nothing in (noise, (127 + 100 * leaves).astype(np.uint8), np.zeros_like(noise), empty):
        assert find_people(nothing) == []


@pytest.fixture
def couple() -> Pixels:
    canvas = np.full((512, 900, 3), 120, np.uint8)
    canvas[:, :512] = picture("mira")
    canvas[150:512, 530:892] = picture("jonas", 362)
    return canvas


def test_a_face_that_has_no_body_of_its_own_is_nobody(
    couple: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bodies.detect_bodies
    monkeypatch.setattr(  # the larger body alone, wherever one looks
        bodies, "detect_bodies",
        lambda picture, square: [b for b in plain(picture, whole(picture)) if b.middle[0] < 512],
    )  # fmt: skip
    (mira,) = find_people(couple)
    assert mira.face.points[1, 0] < 512


def test_two_people_are_two_the_larger_face_first(
    couple: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    plain = bodies.look
    monkeypatch.setattr(bodies, "look", lambda *a: (looks.append(1), plain(*a))[1])
    first, second = find_people(couple)
    assert first.face.eyes > second.face.eyes
    assert first.face.points[1, 0] < 512 < second.face.points[1, 0]
    assert len(looks) == 4, "each body is looked at twice, whatever the faces"


def test_hands_out_of_the_picture_are_not_claimed() -> None:
    """The body's points go on beyond the edge; only a hand that is seen counts."""
    for name in ("mira", "omar", "kenji"):
        wrists = person(name).body.points[[15, 16], 1]
        cut = picture(name)[: int(wrists.min() - 60)]
        if cut.shape[0] < 200:
            continue
        for one in find_people(np.ascontiguousarray(cut)):
            assert not one.hands


def test_a_tracker_follows_without_asking_a_detector_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    plain = boxes.detect
    for module in (bodies, __import__("pipeline.landmarkers.faces", fromlist=["x"])):
        monkeypatch.setattr(module, "detect", lambda *a: (asked.append(a[0]), plain(*a))[1])
    tracker = Tracker()
    shown = picture("amara")
    for shift in range(4):
        frame = np.roll(shown, 3 * shift, axis=1)
        (one,) = tracker.track(frame)
        nose = person("amara").face.points[1, 0] + 3 * shift
        assert abs(one.face.points[1, 0] - nose) < 3
        assert set(one.hands) == {"left", "right"}
    assert asked == ["face_detector", "pose_detector"], "only the first frame is searched"


def test_a_tracker_finds_whoever_comes_after_a_cut() -> None:
    tracker = Tracker()
    assert len(tracker.track(picture("amara"))) == 1
    assert tracker.track(np.zeros((512, 512, 3), np.uint8)) == []
    (one,) = tracker.track(picture("mira"))
    assert np.allclose(one.face.points, person("mira").face.points, atol=2)
