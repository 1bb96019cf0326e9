"""What lips do besides speech: smile, rest softly, part for a breath, press, swallow, twitch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.rig.state import INDEX
from training.director.motion import bump, bumps, spring, wander
from training.director.performer import Performer
from training.director.score import Score
from training.director.styles import Style

F64 = NDArray[np.float64]


def smile_track(score: Score, style: Style, performer: Performer, rng: np.random.Generator) -> F64:
    """How much of a smile there is, (frames,): the style's, the picture's, more at phrase ends."""
    rest = float(performer.rest[[INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]].mean())
    base = max(style.smile, 0.0) + 0.35 * rest * (style.frown < 0.1)
    slow = 1.0 + 0.22 * wander(rng, score.times, 4.0)[:, 0]
    ends = [phrase.end for phrase in score.phrases if phrase.final]
    glow = 0.5 * style.smile + 0.02
    extra = bumps(score.times, ends, np.full(len(ends), glow), 0.5, 1.8)
    return np.clip(spring(base * slow + extra, 2.0), 0.0, 0.75)


def _pauses(score: Score) -> list[tuple[float, float]]:
    edges = [0.0]
    for phrase in score.phrases:
        edges += [phrase.start, phrase.end]
    edges.append(score.seconds)
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 0.25]


def add_lip_life(units: F64, score: Score, rng: np.random.Generator) -> None:
    """Lay breaths, presses, swallows and small drift over the mouth part, in place."""
    gate = 1.0 - np.clip(spring(score.speech, 3.0), 0.0, 1.0)
    drift = wander(rng, score.times, 1.6, 4)
    times = score.times
    units[:, INDEX["jawOpen"]] += gate * 0.006 * (1.0 + drift[:, 0])
    for name, i in (("mouthPress", 1), ("mouthDimple", 2), ("mouthStretch", 3)):
        small = gate * 0.020 * np.maximum(drift[:, i] + 0.4, 0.0)
        units[:, INDEX[f"{name}Left"]] += small * 1.2
        units[:, INDEX[f"{name}Right"]] += small * 0.8
    for start, end in _pauses(score):
        if end < score.seconds - 0.05:
            rise = min(0.3, end - start - 0.05)
            inhale = bump(times, end - 0.06, rise, 0.12) * rng.uniform(0.035, 0.075)
            units[:, INDEX["jawOpen"]] += inhale
            units[:, INDEX["mouthLowerDownLeft"]] += 0.8 * inhale
            units[:, INDEX["mouthLowerDownRight"]] += 0.8 * inhale
        at = start + float(rng.uniform(0.5, 4.0))
        while at + 1.2 < end:
            _quiet_act(units, times, at, rng)
            at += float(rng.uniform(4.0, 11.0))


def _quiet_act(units: F64, times: F64, at: float, rng: np.random.Generator) -> None:
    """A lip press, a swallow or a twitch to one side."""
    kind = rng.random()
    size = float(rng.uniform(0.5, 1.0))
    if kind < 0.45:
        act = size * bump(times, at + 0.25, 0.25, 0.4, rng.uniform(0.1, 0.4))
        names = {"mouthPressLeft": 0.4, "mouthPressRight": 0.35, "mouthRollLower": 0.25,
                 "mouthRollUpper": 0.2}  # fmt: skip
    elif kind < 0.75:
        act = size * bump(times, at + 0.2, 0.2, 0.35, 0.12)
        names = {"mouthShrugLower": 0.3, "mouthPressLeft": 0.2, "mouthPressRight": 0.2,
                 "mouthFrownLeft": 0.1, "mouthFrownRight": 0.1}  # fmt: skip
    else:
        side = "Left" if rng.random() < 0.5 else "Right"
        act = size * bump(times, at + 0.2, 0.2, 0.6, rng.uniform(0.1, 0.5))
        names = {f"mouth{side}": 0.12, f"mouthDimple{side}": 0.25, f"mouthSmile{side}": 0.12}
    for name, gain in names.items():
        units[:, INDEX[name]] += gain * act
