"""Drawing: what is written into a frame, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.dubbing import mark
from pipeline.dubbing.follow import Follower
from pipeline.dubbing.geometry import RINGS, pose_of
from pipeline.dubbing.mouth_shape import offsets
from pipeline.dubbing.painter import Aim, Painter
from pipeline.dubbing.standin_teeth import standin
from pipeline.dubbing.survey import Someone, resting, survey
from pipeline.dubbing.video_in import Shot, frames, open_video
from pipeline.media.label import Label
from pipeline.models.mini.rig.state import MOUTH
from tests.pipeline.dubbing.test_geometry import units


@pytest.fixture(scope="module")
def somebody(talk: Path) -> Someone:
    return survey(open_video(talk)).people[0]


def shot(path: Path) -> Shot:
    return next(frames(open_video(path)))


def aim(somebody: Someone, frame: Shot, **changes: object) -> Aim:
    closed = resting(somebody, np.zeros(len(MOUTH)))
    now = np.asarray(Follower().see(frame)[0].points[:468], np.float64)
    given = {
        "now": now, "pose": pose_of(now, closed), "closed": closed,
        "offset": offsets(units(jawOpen=0.5)), "effort": 1.0, "hidden": np.zeros(468),
    }  # fmt: skip
    return Aim(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["yuv420p", "yuv420p10le"])
def test_outside_the_matte_no_pixel_changes(
    somebody: Someone, clip: Callable[..., Path], form: str
) -> None:
    frame = shot(clip(f"{form}.mp4", form))
    before = [plane.copy() for plane in frame.planes]
    painted = Painter(standin(0.5)).paint(frame, aim(somebody, frame), 0)
    assert painted is not None and painted.matte.max() == 1
    inside = np.zeros(before[0].shape, bool)
    high, wide = painted.matte.shape
    inside[painted.top : painted.top + high, painted.left : painted.left + wide] = painted.matte > 0
    changed = before[0] != frame.planes[0]
    assert changed.sum() > 100 and not (changed & ~inside).any()
    for old, new in zip(before[1:], frame.planes[1:], strict=True):
        assert not ((old != new) & ~inside.reshape(old.shape[0], 2, -1, 2).any((1, 3))).any()


def test_no_effort_writes_nothing(somebody: Someone, talk: Path) -> None:
    frame = shot(talk)
    before = [plane.copy() for plane in frame.planes]
    assert Painter(standin(0.5)).paint(frame, aim(somebody, frame, effort=0.0), 0) is None
    assert all((a == b).all() for a, b in zip(before, frame.planes, strict=True))


def test_what_hides_the_face_is_left_alone(somebody: Someone, talk: Path) -> None:
    frame = shot(talk)
    before = frame.planes[0].copy()
    Painter(standin(0.5)).paint(frame, aim(somebody, frame, hidden=np.ones(468)), 0)
    assert (before == frame.planes[0]).all()


def test_a_bar_before_the_mouth_is_found(somebody: Someone, talk: Path) -> None:
    frame = shot(talk)
    points = aim(somebody, frame).now
    assert somebody.colours.hidden(frame, points)[RINGS].mean() < 0.1
    x, y = points[13, :2].astype(int)
    frame.planes[0][y - 30 : y + 30, x - 60 : x + 60] = 30
    for chroma in frame.planes[1:]:
        chroma[(y - 30) // 2 : (y + 30) // 2, (x - 60) // 2 : (x + 60) // 2] = 170
    assert somebody.colours.hidden(frame, points)[RINGS].mean() > 0.6


def test_the_mark_is_written_in_its_box_alone(talk: Path) -> None:
    frame, label = shot(talk), Label()
    before = frame.planes[0].copy()
    mark.stamp(frame, label)
    left, top, right, bottom = label.box(*frame.size)
    changed = np.argwhere(before != frame.planes[0])
    assert len(changed) > 50
    assert (changed >= (top, left)).all() and (changed < (bottom, right)).all()
