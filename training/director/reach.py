"""Where a pose puts the hand, on an average body, and poses bent until hands have room.

A plain chain of shoulder, elbow, wrist and fingers with the body's own order of turns. Hands
must not go through the trunk, nor through each other when both are up, nor before the face;
``make_room`` turns the arm out, lifts it forwards or lowers it as little as that takes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.state import ARM

F64 = NDArray[np.float64]

# metres of an average adult at the zero state, x outwards, y up, z forwards; origin between the
# shoulders
_SHOULDER: Final = np.array([0.163, 0.0, 0.019])
_UPPER: Final = np.array([0.034, -0.236, -0.0145])
_FORE: Final = np.array([0.014, -0.230, 0.037])
_PALM: Final = np.array([0.001, -0.075, 0.004])
_TIP: Final = np.array([0.0, -0.165, 0.003])
_AT: Final = {name: i for i, name in enumerate(ARM)}
TRUNK_DEPTH: Final = 0.195  # a palm's centre stays this far before the spine's axis
_TRUNK_WIDTH: Final = 0.20
HIGHEST: Final = -0.02  # of a palm over the shoulders
WIDEST: Final = 0.37  # of a palm from the middle
_ROUNDS: Final = 10


def _unit(v: F64) -> F64:
    return np.asarray(v / np.linalg.norm(v))


def _turn(axis: F64, angle: F64) -> F64:
    """Rotation matrices (k, 3, 3) about unit axes (k, 3) or (3,) by angles (k,)."""
    axis = np.broadcast_to(axis, (len(angle), 3))
    x, y, z = axis.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    outer = axis[:, :, None] * axis[:, None, :]
    return np.asarray(cosine * np.eye(3) + sine * cross + (1.0 - cosine) * outer)


def hand_points(poses: F64) -> tuple[F64, F64, F64]:
    """Elbow, palm and fingertips (k, 3) each of poses (k, 14), x outwards from the middle."""
    swing = np.stack([-poses[:, 0], np.zeros(len(poses)), poses[:, 1]], axis=1)
    size = np.linalg.norm(swing, axis=1)
    shoulder = _turn(swing / np.maximum(size, 1e-9)[:, None], size)
    shoulder = shoulder @ _turn(_unit(_UPPER), poses[:, _AT["twist"]])
    hinge = _unit(np.cross(_UPPER, [0.0, 0.0, 1.0]))
    bent = shoulder @ _turn(hinge, poses[:, _AT["elbow"]])
    elbow = _SHOULDER + shoulder @ _UPPER
    wrist = elbow + bent @ _FORE
    turned = bent @ _turn(_unit(_FORE), poses[:, _AT["forearm"]])
    turned = turned @ _turn(np.array([0.0, 0.0, 1.0]), -poses[:, _AT["wrist_flex"]])
    curl = 1.0 - 0.55 * poses[:, 7:11].mean(axis=1)
    return elbow, wrist + turned @ _PALM, wrist + (turned @ _TIP) * curl[:, None]


def trunk_front(x: F64) -> F64:
    """How far forwards a hand has to stay at a distance ``x`` from the middle."""
    inside = np.clip(1.0 - np.square(x / _TRUNK_WIDTH), 0.0, 1.0)
    return np.asarray(TRUNK_DEPTH * np.sqrt(inside))


def _excess(poses: F64, margin: F64) -> tuple[F64, F64, F64, F64]:
    """How far hands are past the middle, in the trunk, too high and too far out, in metres."""
    _, palm, tip = hand_points(poses)
    over = margin - np.minimum(palm[:, 0], tip[:, 0])
    sunk = np.maximum(
        trunk_front(palm[:, 0]) - palm[:, 2], trunk_front(tip[:, 0]) - 0.02 - tip[:, 2]
    )
    high, wide = palm[:, 1] - HIGHEST, palm[:, 0] - WIDEST
    return (
        np.maximum(over, 0.0), np.maximum(sunk, 0.0), np.maximum(high, 0.0), np.maximum(wide, 0.0)
    )  # fmt: skip


def make_room(poses: F64, margin: F64) -> F64:
    """Poses (k, 14) whose hands stay ``margin`` (k,) metres on their side, before the trunk, below
    the chin and near the body."""
    out = poses.copy()
    for _ in range(_ROUNDS):
        over, sunk, high, wide = _excess(out, margin)
        if max(x.max(initial=0.0) for x in (over, sunk, high, wide)) < 0.003:
            break
        out[:, _AT["twist"]] -= np.minimum(over / 0.30, 0.25)
        out[:, _AT["flex"]] += np.minimum(sunk / 0.28, 0.25) - np.minimum(high / 0.6, 0.2)
        out[:, _AT["elbow"]] -= np.minimum(high / 0.35, 0.25)
        out[:, _AT["abduct"]] -= np.minimum(wide / 0.5, 0.15)
        out[:, _AT["twist"]] += np.minimum(wide / 0.5, 0.15)
    return out
