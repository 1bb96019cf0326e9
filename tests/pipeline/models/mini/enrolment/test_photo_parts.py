"""A whole picture, from pixels to a moving hand: networks, layers, limits and drawing together."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.landmarkers import find_people
from pipeline.models.mini.enrolment import photo_parts as photo
from pipeline.models.mini.enrolment.identity_anchor import IdentityAnchor, build_anchor
from pipeline.models.mini.enrolment.landmark_fit import REQUIRED
from pipeline.models.mini.enrolment.photo_parts import photo_parts
from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.painter import FrameRenderer
from pipeline.models.mini.rig.fit import Fit
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import INDEX
from tests.pictures import Picture, psnr

pytestmark = pytest.mark.timeout(400)  # the first one may have to compile kernels

SIZE = 512


@cache
def enrolled() -> tuple[Picture, IdentityAnchor]:
    """A bundled picture as if it were somebody's own, and its anchor."""
    found = find_avatar("amara")
    with Image.open(found.reference) as image:
        picture = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    known = Fit.from_json(found.fit.read_text("utf-8"))
    person = Person(bundled_body(), known.shape, known.wear)
    places = known.camera.project(person.pose(known.state), SIZE, SIZE)
    marks = person.body.landmarks
    points = {n: (float(places[marks[n], 0]), float(places[marks[n], 1])) for n in REQUIRED}
    fit = Fit(known.shape, known.state, known.camera, known.wear, points, exact=False)
    parts = photo_parts(picture, points)
    assert parts is not None
    return picture, build_anchor(picture, fit, SIZE, SIZE, parts=parts)


def test_a_picture_of_ones_own_is_taken_apart_and_stays_the_picture() -> None:
    picture, anchor = enrolled()
    assert {arm.side for arm in anchor.arms} == {"left", "right"}
    assert psnr(FrameRenderer(anchor).paint(anchor.rest_state), picture) > 33
    assert anchor.notes[0].startswith("moves: face, head, shoulders")


def test_a_hand_that_moves_is_still_a_hand() -> None:
    _, anchor = enrolled()
    side = next(arm.side for arm in anchor.arms if arm.moves)
    state = anchor.rest_state.copy()
    state[INDEX[f"{side}_elbow"]] += 0.3
    painter = FrameRenderer(anchor)
    before, after = (
        find_people(painter.paint(s))[0].hands[side] for s in (anchor.rest_state, state)
    )
    assert after.presence > 0.9 * before.presence
    assert before.points[:, 1].mean() - after.points[:, 1].mean() > 0.015 * SIZE


def test_an_opaque_alpha_channel_is_no_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _ = enrolled()
    (person,) = find_people(picture)
    nose = {"nose_tip": tuple(map(float, person.face.points[1, :2]))}
    masks: list[NDArray[np.float32]] = []
    monkeypatch.setattr(photo, "take_apart", lambda _, points: masks.append(points.mask))
    photo.photo_parts(picture, nose, np.full(picture.shape[:2], 255, np.uint8))
    drawn = np.zeros(picture.shape[:2], np.uint8)
    drawn[100:, 100:400] = 255
    photo.photo_parts(picture, nose, drawn)
    assert (masks[0] == person.mask.at(*picture.shape[:2])).all()
    assert (masks[1] == drawn / np.float32(255)).all()


def test_landmarks_that_no_found_person_has_give_no_layers() -> None:
    picture, _ = enrolled()
    assert photo_parts(picture, {"nose_tip": (3.0, 3.0)}) is None
