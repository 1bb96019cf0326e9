"""The face mesh as geometry."""

from __future__ import annotations

import numpy as np

from pipeline.dubbing.geometry import aside, closed, gap, pose_of
from pipeline.dubbing.mesh_warp import fill, topology
from pipeline.dubbing.mouth_shape import offsets, standard_face
from pipeline.models.mini.rig.state import MOUTH


def units(**values: float) -> np.ndarray:
    out = np.zeros(len(MOUTH))
    for name, value in values.items():
        out[MOUTH.index(name)] = value
    return out


def test_a_pose_is_found_again_whatever_the_mouth_does() -> None:
    face, angle = standard_face(), 0.4
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    shown = 150 * (face + offsets(units(jawOpen=0.5))) @ turn.T + (300, 200, 0)
    pose = pose_of(shown, face)
    assert abs(pose.yaw - angle) < 0.05 and abs(pose.scale - 150) < 3
    assert np.allclose(pose.unplace(pose.place(face)), face)


def test_an_open_jaw_opens_the_lips_and_closing_shuts_them() -> None:
    face = standard_face()
    opened = face + offsets(units(jawOpen=0.6))
    assert gap(opened) > 0.1
    assert abs(gap(closed(opened))) < 1e-9
    assert gap(face + offsets(units(jawOpen=0.6, mouthClose=0.6))) < 0.3 * gap(opened)


def test_a_tilted_mouth_is_aside_and_an_open_one_is_not() -> None:
    face = standard_face()
    tilted = face.copy()
    tilted[:, 1] += 0.1 * face[:, 0]
    assert np.ptp(aside(tilted, face)[:, 1]) > 0.05
    assert np.abs(aside(face + offsets(units(jawOpen=0.5)), face)).max() < 0.03


def test_a_mesh_that_stays_moves_no_pixel() -> None:
    layout = topology()
    face = 100 * standard_face() + (100, 80, 0)
    points = np.concatenate([face, face[:36] * 0])
    triangles = layout.triangles[(layout.triangles < 468).all(1)]
    way, matte = np.full((220, 220, 2), 7, np.float32), np.zeros((220, 220), np.float32)
    fill(triangles, points, points, np.ones(len(points)), 0, 0, way, matte)
    assert matte.max() == 1 and np.abs(way[matte > 0]).max() < 1e-4
