"""Which beats get a gesture, and which shape: the plan of a clip's gesture units.

Strong syllables come first, no two strokes closer than hands can go; energy and style decide how
many. What is made of the plan is the business of ``arms.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.director.gestures import Gesture, draw
from training.director.performer import Performer
from training.director.score import Beat, Score
from training.director.styles import Style

_FIRST_S: Final = 0.6  # a clip starts at rest; this is the time to raise the hands
_LARGEST: Final = 1.8
HIDDEN: Final = 0.22  # gestures of people whose hands are out of the frame


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke: it lands at ``time`` with ``size`` (about 1), made by ``hands``."""

    time: float
    size: float
    gesture: Gesture
    index: int  # which of the gesture's strokes
    left: bool
    right: bool
    hold_until: float  # the hands stay up at least this long


def gesture_rate(style: Style, performer: Performer) -> float:
    """How readily hands move in plain speech, 1 for ordinary talk; 0 never."""
    seen = 1.0 if performer.hands_visible else HIDDEN
    return style.gesture_rate * performer.liveliness * seen


def _chosen(score: Score, rate: float, style: Style, rng: np.random.Generator) -> list[Beat]:
    """Beats that get a stroke: a phrase's strongest, as many as rate and vigour allow."""
    chosen: list[Beat] = []
    for index, phrase in enumerate(score.phrases):
        beats = [beat for beat in score.beats if beat.phrase == index]
        eager = rate * phrase.vigour
        if not beats or rng.random() > 1.0 - np.exp(-4.0 * eager * (0.3 + 0.4 * phrase.length)):
            continue
        gap = 0.55 / style.gesture_speed + 0.1 / max(eager, 0.35)
        floor = 0.52 - 0.30 * min(eager, 1.5) + rng.normal(0.0, 0.04)
        taken: list[Beat] = []
        for beat in sorted(beats, key=lambda beat: -beat.strength):
            apart = all(abs(beat.peak - other.peak) >= gap for other in chosen + taken)
            if apart and (beat.strength > floor or not taken) and beat.peak > _FIRST_S:
                taken.append(beat)
        chosen += taken
    return sorted(chosen, key=lambda beat: beat.peak)


def _hands(
    gesture: Gesture, style: Style, performer: Performer, rng: np.random.Generator
) -> tuple[bool, bool]:
    both = gesture.hands == 2 or (gesture.hands == 0 and rng.random() < style.two_handed)
    right = bool(rng.random() < performer.right_handed)
    return both or not right, both or right


def plan_strokes(
    score: Score, style: Style, performer: Performer, rng: np.random.Generator
) -> list[Stroke]:
    """All strokes of a clip in order."""
    rate = gesture_rate(style, performer)
    if rate <= 0.0 or not score.beats:
        return []
    seen = 1.0 if performer.hands_visible else HIDDEN**0.5
    size = style.gesture_size * performer.liveliness * seen
    strokes: list[Stroke] = []
    gesture, index, left_to_make, last = draw(rng), 0, 0, -9.0
    hands = (False, True)
    for beat in _chosen(score, rate, style, rng):
        if left_to_make <= 0 or beat.peak - last > 2.6:
            gesture, index = draw(rng, gesture.name), 0
            left_to_make = int(rng.integers(1, 3)) + len(gesture.strokes) - 1
            hands = _hands(gesture, style, performer, rng)
        phrase = score.phrases[beat.phrase]
        time = beat.peak - rng.uniform(0.0, 0.03)
        meant = (0.05 + 0.95 * phrase.vigour) * (0.15 + 0.95 * beat.strength)
        strong = min(size * meant * float(np.exp(rng.normal(0.0, 0.08))), _LARGEST)
        hold = min(phrase.end, time + 1.8)
        strokes.append(Stroke(time, strong, gesture, index, *hands, hold))
        index, left_to_make, last = index + 1, left_to_make - 1, beat.peak
    return strokes
