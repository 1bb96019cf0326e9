"""The upper face: brows on emphasis and questions, smiling eyes, wide eyes, and blinks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.state import SLICES, UPPER_FACE
from training.director.motion import FPS, bump, bumps, spring, wander
from training.director.score import Score
from training.director.styles import Style

F64 = NDArray[np.float64]

_COLUMN: Final = {name: i for i, name in enumerate(UPPER_FACE)}
WIDTH: Final = SLICES["upper_face"].stop - SLICES["upper_face"].start
_CLOSING: Final = ((0.22, 0.62, 0.93), (0.18, 0.60, 0.95), (0.35, 0.80, 0.97))
_OPENING: Final = ((0.84, 0.52, 0.22, 0.06), (0.88, 0.62, 0.36, 0.15, 0.04))


def blink_times(score: Score, style: Style, turns: F64, rng: np.random.Generator) -> list[float]:
    """When the lids start to close: log-normal gaps, drawn to phrase ends and to large glances."""
    lures = sorted([phrase.end - 0.04 for phrase in score.phrases] + turns.tolist())
    out: list[float] = []
    at = float(rng.uniform(0.2, 3.0))
    while at < score.seconds - 0.05:
        near = [lure for lure in lures if abs(lure - at) < 0.8 and lure > (out or [-9.0])[-1] + 0.7]
        if near and rng.random() < 0.7:
            at = min(near, key=lambda lure: abs(lure - at)) + float(rng.normal(0.0, 0.04))
        out.append(at)
        if rng.random() < 0.08:
            out.append(at + float(rng.uniform(0.42, 0.55)))
        gap = float(np.clip(rng.lognormal(1.12, 0.42), 1.1, 8.0)) / style.blink_rate
        at = out[-1] + gap
    return out


def _blinks(score: Score, starts: list[float], rng: np.random.Generator) -> F64:
    """Both lids per frame, (frames, 2): three frames down, one shut, four or five up."""
    out = np.zeros((score.frames + 16, 2))
    for start in starts:
        curve = [*_CLOSING[rng.integers(3)], 1.0, *_OPENING[rng.integers(2)]]
        depth = 1.0 if rng.random() < 0.9 else rng.uniform(0.6, 0.85)
        late = rng.integers(2) if rng.random() < 0.15 else -1
        for side in range(2):
            first = max(int(start * FPS), 0) + (side == late)
            span = out[first : first + len(curve), side]
            np.maximum(span, depth * np.array(curve)[: len(span)], out=span)
    return out[: score.frames]


def _raises(score: Score, style: Style, rng: np.random.Generator) -> tuple[F64, F64]:
    """Brow raise and frown, (frames,) each, from the beats and the ends of phrases."""
    strong = [beat for beat in score.beats if beat.strength > 0.66]
    size = np.array([0.60 * (beat.strength - 0.45) + 0.15 * beat.emphasis for beat in strong])
    size *= style.brow * (0.4 + 0.6 * score.energy)
    size *= np.exp(rng.normal(0.0, 0.25, len(strong)))
    down = rng.random(len(strong)) < 0.12 + 0.5 * style.frown
    peaks = np.array([beat.start + 0.03 for beat in strong])
    rise, fall = rng.uniform(0.20, 0.28, len(strong)), rng.uniform(0.35, 0.75, len(strong))
    raised = bumps(score.times, peaks, np.where(down, 0.0, size), rise, fall)
    lowered = bumps(score.times, peaks, np.where(down, 0.8 * size, 0.0), rise, fall)
    for phrase in score.phrases:
        if phrase.question:
            length = max(phrase.length - 0.3, 0.1)
            raised += 0.42 * style.brow * bump(score.times, phrase.start + 0.3, 0.3, 0.6, length)
    return 0.85 * np.tanh(raised / 0.85), 0.7 * np.tanh(lowered / 0.7)


def _widening(score: Score, style: Style) -> F64:
    out = np.zeros(score.frames)
    for phrase in score.phrases:
        if phrase.exclamation:
            hold = max(0.6 * phrase.length, 0.1)
            out += 0.26 * style.brow * bump(score.times, phrase.start + 0.25, 0.25, 0.5, hold)
    for beat in score.beats:
        if beat.emphasis:
            out += bumps(score.times, [beat.start], [0.16 * score.energy * style.brow], 0.16, 0.4)
    return np.minimum(out, 0.55)


def move_brows(score: Score, style: Style, smile: F64, turns: F64, rng: np.random.Generator) -> F64:
    """The upper face on top of the rest pose, (frames, 17), the gaze still empty."""
    out = np.zeros((score.frames, WIDTH))
    raised, lowered = _raises(score, style, rng)
    drift = 0.035 * wander(rng, score.times, 2.2, 3)
    side = 1.0 + float(np.clip(rng.normal(0.0, 0.12), -0.3, 0.3))
    frown = np.maximum(lowered + style.frown * (1.0 - 0.6 * raised) + drift[:, 2], 0.0)
    for name, gain in (("Left", side), ("Right", 2.0 - side)):
        out[:, _COLUMN[f"browOuterUp{name}"]] = np.maximum((0.85 * raised + drift[:, 0]) * gain, 0)
        out[:, _COLUMN[f"browDown{name}"]] = frown * (2.0 - gain)
        out[:, _COLUMN[f"cheekSquint{name}"]] = 0.75 * smile
        squint = 0.38 * smile + 0.30 * frown + 0.03 + drift[:, 1]
        out[:, _COLUMN[f"eyeSquint{name}"]] = np.maximum(squint, 0.0)
        out[:, _COLUMN[f"noseSneer{name}"]] = 0.12 * frown
    out[:, _COLUMN["browInnerUp"]] = np.maximum(0.75 * raised + drift[:, 1], 0.0)
    wide = spring(_widening(score, style), 4.0)
    lids = _blinks(score, blink_times(score, style, turns, rng), rng)
    for i, name in enumerate(("Left", "Right")):
        out[:, _COLUMN[f"eyeBlink{name}"]] = style.lids + (1.0 - style.lids) * lids[:, i]
        out[:, _COLUMN[f"eyeWide{name}"]] = wide * (1.0 - lids[:, i])
        out[:, _COLUMN[f"eyeSquint{name}"]] *= 1.0 - 0.7 * lids[:, i]
    return out
