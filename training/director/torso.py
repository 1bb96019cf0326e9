"""What the trunk does: it breathes, shifts its weight, leans in, lifts a shoulder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from pipeline.models.mini.rig.state import SLICES, TORSO
from training.director.motion import bumps, moves, spring, wander
from training.director.score import Score
from training.director.styles import Style

F64 = NDArray[np.float64]

_COLUMN = {name: i for i, name in enumerate(TORSO)}
WIDTH = SLICES["torso"].stop - SLICES["torso"].start


def breathe(score: Score, rng: np.random.Generator) -> F64:
    """Breath per frame, 0 empty to 1 full: quick intakes before phrases, slow cycles in silence."""
    times, levels = [-4.0], [0.2]
    intakes = [p.start for p in score.phrases if p.pause > 0.22 or p is score.phrases[0]]
    for target in [*intakes, score.seconds + 6.0]:
        while target - times[-1] > 5.6:
            period = float(rng.uniform(4.0, 5.2))
            times += [times[-1] + 0.42 * period, times[-1] + period]
            levels += [float(rng.uniform(0.6, 0.85)), float(rng.uniform(0.08, 0.22))]
        if target - times[-1] < 0.9:
            continue
        intake = min(float(rng.uniform(0.35, 0.6)), 0.8 * (target - times[-1]))
        times += [target - intake, target - 0.02]
        levels += [float(rng.uniform(0.15, 0.3)), float(rng.uniform(0.75, 1.0))]
        span = float(rng.uniform(2.6, 4.2))
        times.append(target + span)
        levels.append(float(rng.uniform(0.1, 0.25)))
    at = np.maximum.accumulate(np.array(times) + 1e-6 * np.arange(len(times)))
    return np.asarray(np.clip(PchipInterpolator(at, levels)(score.times), 0.0, 1.0))


def _weight_shifts(score: Score, style: Style, rng: np.random.Generator) -> F64:
    """Side, forward and turn of the slow changes of stance, (frames, 3), about unit size."""
    times, stances = [-1.0], [rng.normal(0.0, 0.7, 3)]
    at = float(rng.uniform(1.5, 6.0))
    while at < score.seconds:
        length = float(rng.uniform(0.9, 1.9))
        times += [at, at + length]
        stances += [stances[-1], np.clip(rng.normal(0.0, 1.0, 3), -1.6, 1.6)]
        at += length + float(rng.uniform(3.5, 10.0)) / (0.5 + 0.5 * style.sway)
    return moves(score.times, times, np.array(stances))


def _lean(score: Score, style: Style) -> F64:
    """Towards the viewer while strong beats come, in radians."""
    strong = [beat for beat in score.beats if beat.strength > 0.66]
    size = [0.02 * (beat.strength + 0.4 * beat.emphasis) * score.energy for beat in strong]
    peaks = [beat.start + 0.05 for beat in strong]
    return spring(np.minimum(bumps(score.times, peaks, size, 0.35, 0.9), 0.07), 1.4) * style.nod


def _shrugs(score: Score, style: Style, rng: np.random.Generator) -> F64:
    """Clavicle lift of left and right on emphasis, (frames, 2)."""
    out = np.zeros((score.frames, 2))
    for beat in score.beats:
        if beat.strength < 0.72 or rng.random() > 0.35 * style.nod * score.energy:
            continue
        size = rng.uniform(0.03, 0.09) * beat.strength * rng.uniform(0.5, 1.0, 2)
        for side in range(2):
            out[:, side] += bumps(score.times, [beat.start + 0.04], [size[side]], 0.22, 0.45)
    return np.minimum(out, 0.2)


def move_torso(score: Score, style: Style, head: F64, rng: np.random.Generator) -> F64:
    """The torso part on top of the rest pose, (frames, 14), with the head's angles written in."""
    out = np.zeros((score.frames, WIDTH))
    sway = 0.35 + 0.65 * style.sway
    shift = _weight_shifts(score, style, rng) * sway
    drift = wander(rng, score.times, 2.6, 4) * sway
    breath = breathe(score, rng)
    shrugs = _shrugs(score, style, rng)
    out[:, :3] = head
    out[:, _COLUMN["spine_yaw"]] = (
        0.022 * shift[:, 2] + 0.008 * drift[:, 0] + 0.12 * spring(head[:, 0], 0.8)
    )
    out[:, _COLUMN["spine_pitch"]] = (
        style.lean - _lean(score, style) + 0.010 * (breath - 0.4) + 0.006 * drift[:, 1]
    )
    out[:, _COLUMN["spine_roll"]] = 0.016 * shift[:, 0] + 0.006 * drift[:, 2]
    out[:, _COLUMN["root_x"]] = 0.011 * shift[:, 0] + 0.0022 * drift[:, 3]
    out[:, _COLUMN["root_y"]] = -0.0025 * np.abs(shift[:, 0])
    out[:, _COLUMN["root_z"]] = 0.007 * shift[:, 1] + 0.0015 * drift[:, 1]
    out[:, _COLUMN["breath"]] = breath
    for side, name in enumerate(("left", "right")):
        out[:, _COLUMN[f"clavicle_lift_{name}"]] = 0.025 * breath + shrugs[:, side]
        out[:, _COLUMN[f"clavicle_forward_{name}"]] = 0.012 * drift[:, side] - 0.01 * breath
    return out
