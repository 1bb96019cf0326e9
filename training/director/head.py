"""How the head moves: nods on beats, postures per phrase, a slow drift, and turns with the gaze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.director.motion import bumps, moves, spring, wander
from training.director.score import Beat, Score
from training.director.styles import Style

F64 = NDArray[np.float64]


def _nodding(score: Score, style: Style) -> list[Beat]:
    """Beats strong enough to nod at, no two closer than a nod takes."""
    chosen: list[Beat] = []
    for beat in sorted(score.beats, key=lambda beat: -beat.strength):
        if beat.strength < 0.78 - 0.20 * min(style.nod, 2.0):
            break
        if all(abs(beat.start - other.start) > 0.34 for other in chosen):
            chosen.append(beat)
    return sorted(chosen, key=lambda beat: beat.start)


def _nods(score: Score, style: Style, rng: np.random.Generator) -> F64:
    """Yaw, pitch, roll of beats: down on the vowel, now and then up when it is emphasised."""
    chosen = _nodding(score, style)
    out = np.zeros((score.frames, 3))
    if not chosen:
        return out
    peaks = np.array([beat.start + 0.25 * (beat.end - beat.start) for beat in chosen])
    size = np.array([max(beat.strength, 0.2) for beat in chosen]) * style.nod
    size = size * (0.45 + 0.55 * score.energy) * np.exp(rng.normal(0.0, 0.18, len(chosen)))
    upward = np.array([beat.emphasis and rng.random() < 0.3 for beat in chosen])
    pitch = np.where(upward, 0.06, -0.105) * size
    aside = rng.normal(0.0, 1.0, (2, len(chosen)))
    rise, fall = rng.uniform(0.16, 0.24, len(chosen)), rng.uniform(0.28, 0.48, len(chosen))
    out[:, 1] = bumps(score.times, peaks, pitch, rise, fall)
    out[:, 1] += bumps(score.times, peaks - rise, -0.3 * pitch, 0.14, rise)
    out[:, 0] = bumps(score.times, peaks, 0.036 * size * aside[0], rise, 1.4 * fall)
    out[:, 2] = bumps(score.times, peaks, 0.028 * size * aside[1], rise, 1.4 * fall)
    return out


def _postures(score: Score, style: Style, rng: np.random.Generator) -> F64:
    """A pose of the head per phrase, sinking to its end; tilted and raised for questions."""
    times, poses = [-1.0], [np.zeros(3)]
    lively = 0.5 + 0.5 * style.sway
    for phrase in score.phrases:
        yaw, roll = rng.normal(0.0, 0.045) * lively, rng.normal(0.0, 0.022) * style.tilt
        pitch = rng.normal(0.015, 0.018)
        if phrase.question:
            roll += rng.choice((-1.0, 1.0)) * rng.uniform(0.05, 0.11) * style.tilt
            pitch += 0.03
        fall = -0.05 if phrase.final and not phrase.question else -0.015
        begin = phrase.start - min(0.25, 0.5 * phrase.pause)
        late = max(phrase.start + 0.6 * phrase.length, begin + 0.4)
        times += [begin, begin + min(0.55, phrase.length), late, phrase.end + 0.1]
        pose = np.array([yaw, pitch, roll])
        down = pose + np.array([0.0, fall, 0.0])
        poses += [poses[-1], pose, pose, down]
        if phrase.final:
            times.append(phrase.end + rng.uniform(0.6, 1.2))
            poses.append(0.3 * pose)
    return spring(moves(score.times, times, np.array(poses)), 1.6)


def _listening(score: Score, rng: np.random.Generator) -> F64:
    """Pitch of the rare double nod of a listener."""
    out, at = np.zeros(score.frames), float(rng.uniform(3.0, 12.0))
    while at < score.seconds:
        near = score.speech[max(0, int((at - 1.5) * 25)) : int((at + 1.5) * 25)]
        if not near.any():
            size = rng.uniform(0.03, 0.07)
            out += bumps(score.times, [at, at + 0.42], [-size, -0.6 * size], 0.2, 0.24)
        at += float(rng.uniform(6.0, 16.0))
    return out


def move_head(score: Score, style: Style, room: F64, rng: np.random.Generator) -> F64:
    """Head yaw, pitch, roll per frame on top of the rest pose, (frames, 3)."""
    out = _nods(score, style, rng) + _postures(score, style, rng)
    quiet = np.array([0.022, 0.014, 0.014]) * (0.5 + 0.5 * style.sway)
    out += quiet * wander(rng, score.times, 1.9, 3)
    out += 0.35 * quiet * wander(rng, score.times, 0.55, 3) * (0.35 + 0.65 * score.speech[:, None])
    out[:, :2] += spring(room, 1.3) * np.array([0.38, 0.30])
    out[:, 1] += style.chin + _listening(score, rng)
    return out
