"""Where the eyes look: at the viewer mostly, away to think at phrase starts, never quite still.

Fixations are planned in the room (radians from the line to the camera); ``eyes`` turns them into
gaze relative to the head, so that a nodding head keeps looking at the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.director.motion import FPS
from training.director.score import Score
from training.director.styles import Style

F64 = NDArray[np.float64]

LIMIT: Final = 0.52  # radians an eye turns in its orbit
_SACCADE: Final = np.array([0.35, 0.9])  # share of the way after one frame and after two


@dataclass(frozen=True, slots=True)
class Fixation:
    """From ``start`` on the eyes rest on a point ``yaw`` and ``pitch`` off the camera."""

    start: float
    yaw: float
    pitch: float
    contact: bool


def _away(rng: np.random.Generator, style: Style) -> tuple[float, float]:
    """A point to think at: to one side, up or down; shy and tired people look down."""
    yaw = rng.choice((-1.0, 1.0)) * rng.uniform(0.12, 0.42)
    down = 0.45 + 0.25 * (style.chin < -0.04)
    pitch = -rng.uniform(0.05, 0.28) if rng.random() < down else rng.uniform(0.02, 0.22)
    return float(yaw), float(pitch)


def _look_aways(score: Score, style: Style, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Spans of averted gaze: at phrase starts first, then anywhere until the share is used up."""
    spans: list[tuple[float, float]] = []
    speaking = float(score.speech.sum()) / FPS
    budget = (1.0 - style.contact) * speaking * rng.uniform(0.8, 1.2)
    for phrase in score.phrases:
        wish = (1.0 - style.contact) * (2.2 if phrase.pause > 0.35 else 1.0)
        length = float(np.clip(rng.lognormal(-0.25, 0.35), 0.4, 1.9))
        if budget > 0.0 and rng.random() < wish:
            start = phrase.start - rng.uniform(0.12, 0.35)
            spans.append((start, start + length))
            budget -= length
    while budget > 0.5:
        length = float(np.clip(rng.lognormal(-0.35, 0.4), 0.35, 1.8))
        start = rng.uniform(0.0, max(score.seconds - length, 0.1))
        spans.append((start, start + length))
        budget -= length
    return spans


def _idle_aways(score: Score, style: Style, rng: np.random.Generator) -> list[tuple[float, float]]:
    """A listener's glances away in silence."""
    spans, at = [], rng.uniform(1.0, 5.0)
    while at < score.seconds:
        inside = score.speech[min(int(at * FPS), score.frames - 1)]
        length = float(np.clip(rng.lognormal(-0.1, 0.5), 0.35, 2.2))
        if not inside:
            spans.append((at, at + length))
        at += length + float(rng.exponential(2.0 + 5.0 * style.contact)) + 0.8
    return spans


def plan(score: Score, style: Style, rng: np.random.Generator) -> list[Fixation]:
    """All fixations of a clip in order, microsaccades around the viewer's face included."""
    aways = sorted(_look_aways(score, style, rng) + _idle_aways(score, style, rng))
    fixations, at = [], -0.5
    for start, end in [*aways, (score.seconds + 1.0, score.seconds + 2.0)]:
        if start < at:
            continue
        while at < start:
            yaw, pitch = rng.normal(0.0, 0.014), rng.normal(0.004, 0.010)
            fixations.append(Fixation(at, float(yaw), float(pitch), True))
            at += float(np.clip(rng.lognormal(-0.15, 0.5), 0.25, 2.5))
        yaw, pitch = _away(rng, style)
        at = start
        while at < end:
            fixations.append(Fixation(at, yaw, pitch, False))
            at += float(rng.uniform(0.3, 0.9))
            yaw, pitch = yaw + rng.normal(0.0, 0.04), pitch + rng.normal(0.0, 0.03)
        at = end
    return fixations


def room_track(score: Score, fixations: list[Fixation]) -> F64:
    """Gaze in the room per frame, (frames, 2): steps that take two frames, as saccades do."""
    starts = np.array([fixation.start for fixation in fixations])
    points = np.array([(fixation.yaw, fixation.pitch) for fixation in fixations])
    at = np.maximum(np.searchsorted(starts, score.times, side="right") - 1, 0)
    steps = points[at]
    out = steps.copy()
    for frame in np.flatnonzero(np.diff(at)) + 1:
        before = out[frame - 1]
        for i, share in enumerate(_SACCADE):
            if frame + i < len(out) and at[frame + i] == at[frame]:
                out[frame + i] = before + share * (steps[frame] - before)
    return out


def eyes(room: F64, head_yaw: F64, head_pitch: F64) -> F64:
    """Gaze relative to the head, (frames, 2): what the head already turns, the eyes give back."""
    return np.clip(room - np.stack([head_yaw, head_pitch], axis=1), -LIMIT, LIMIT)


def contact_share(room: F64, score: Score) -> float:
    """The share of speaking frames with the eyes on the viewer."""
    on = np.hypot(room[:, 0], room[:, 1]) < 0.08
    spoken = score.speech > 0.0
    return float(on[spoken].mean()) if spoken.any() else float(on.mean())
