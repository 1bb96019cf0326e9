"""The director: turns a clip of speech into the body states of somebody who speaks it.

It reads the score (``score.py``) and lets every part of the body play from it; this file only
gives each its share of chance, adds the rest pose, and keeps the limits. What it makes is
the ground truth that the generator learns from sound alone.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.limits import ARM_HIGH, ARM_LOW
from pipeline.models.mini.rig.state import INDEX, MOUTH, NAMES, SLICES, STATE_DIM, UPPER_FACE
from training.director import gaze
from training.director.arms import move_arm, shrugs
from training.director.brows import move_brows
from training.director.head import move_head
from training.director.lips import add_lip_life, smile_track
from training.director.performer import Performer
from training.director.score import Score, read_score
from training.director.strokes import plan_strokes
from training.director.styles import Style
from training.director.torso import move_torso
from training.director.visemes import mouth_channels, mouth_units
from training.voices.clips import Clip

__all__ = ["LIMITS", "MAX_STEP", "Performer", "direct"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_TORSO_LIMIT: Final = {
    "head_yaw": 0.6, "head_pitch": 0.45, "head_roll": 0.35, "spine_yaw": 0.35,
    "spine_pitch": 0.25, "spine_roll": 0.2, "root_x": 0.08, "root_y": 0.05, "root_z": 0.08,
    "clavicle_lift_left": 0.45, "clavicle_lift_right": 0.45,
    "clavicle_forward_left": 0.3, "clavicle_forward_right": 0.3,
}  # fmt: skip


def _limits() -> F32:
    low, high = np.zeros(STATE_DIM), np.ones(STATE_DIM)
    for name, size in {**_TORSO_LIMIT, "gaze_yaw": gaze.LIMIT, "gaze_pitch": gaze.LIMIT}.items():
        low[INDEX[name]], high[INDEX[name]] = -size, size
    for part in ("left_arm", "right_arm"):
        low[SLICES[part]], high[SLICES[part]] = ARM_LOW, ARM_HIGH
    return np.stack([low, high], axis=1).astype(np.float32)


LIMITS: Final = _limits()  # (88, 2): the lowest and highest value that direct() writes
MAX_STEP: Final = np.array(  # (88,) the most that a value changes from one frame to the next
    [0.60 if name in MOUTH or name in UPPER_FACE else 0.55 for name in NAMES], np.float32
)
_FADES: Final = 0.4  # of the picture's own upper-face expression that stays while in motion


def _face(
    score: Score, style: Style, performer: Performer, turns: F64,
    rngs: tuple[np.random.Generator, np.random.Generator, np.random.Generator],
) -> tuple[F64, F64]:  # fmt: skip
    smile = smile_track(score, style, performer, rngs[0])
    channels = mouth_channels(score, performer.articulation * (0.3 + 0.7 * style.articulation))
    mouth = mouth_units(channels, smile, performer.left_share)
    add_lip_life(mouth, score, rngs[1])
    return mouth, move_brows(score, style, smile, turns, rngs[2])


def direct(clip: Clip, style: Style, performer: Performer, rng: np.random.Generator) -> F32:
    """Body states of ``performer`` speaking ``clip`` in ``style``: float32 (frames, 88) at 25 fps.

    frames = len(clip.audio) // 640. Every draw comes from ``rng``: equal generators make
    equal motion. Raises ``ValueError`` for clips shorter than a frame.
    """
    score = read_score(clip)
    looks, heads, trunk, smiles, lips, lids, plan, lefts, rights = rng.spawn(9)
    fixations = gaze.plan(score, style, looks)
    room = gaze.room_track(score, fixations)
    glances = _large_turns(fixations)
    rest = performer.rest.astype(np.float64)
    head = move_head(score, style, room, heads) * performer.liveliness
    strokes = plan_strokes(score, style, performer, plan)
    torso = move_torso(score, style, head, trunk)
    torso += _rest_stance(rest)
    lift = SLICES["torso"].start
    rows = [INDEX[f"clavicle_lift_{side}"] - lift for side in ("left", "right")]
    torso[:, rows] += shrugs(strokes, score)
    mouth, upper = _face(score, style, performer, glances, (smiles, lips, lids))
    eyes = gaze.eyes(room, torso[:, 0] + torso[:, 3], torso[:, 1] + torso[:, 4])
    upper[:, -2:] = eyes
    upper[:, :-2] += _FADES * rest[SLICES["upper_face"]][:-2] * _not_lids()
    breath = torso[:, INDEX["breath"] - lift]
    arms = [
        move_arm(side, strokes, score, style, performer, breath, chance)
        for side, chance in (("left", lefts), ("right", rights))
    ]
    out = np.concatenate([mouth, upper, torso, *arms], axis=1).astype(np.float32)
    return np.clip(out, LIMITS[:, 0], LIMITS[:, 1])


def _not_lids() -> F64:
    return np.array([not name.startswith("eye") for name in UPPER_FACE[:-2]], np.float64)


def _rest_stance(rest: F64) -> F64:
    """The picture's posture that motion starts from; the head comes half-way to the viewer."""
    stance = rest[SLICES["torso"]].copy()
    stance[:3] *= 0.6
    stance[INDEX["breath"] - SLICES["torso"].start] = 0.0
    return stance


def _large_turns(fixations: list[gaze.Fixation]) -> F64:
    """The times of glances large enough to bring a blink."""
    pairs = itertools.pairwise(fixations)
    return np.array([b.start for a, b in pairs if np.hypot(b.yaw - a.yaw, b.pitch - a.pitch) > 0.2])
