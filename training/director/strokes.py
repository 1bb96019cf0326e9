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

_FIRST_S: Final = 0.75  # a clip starts at rest; this is the time to raise the hands
HIDDEN: Final = 0.35  # gestures of people whose hands are out of the frame


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


def gesture_rate(score: Score, style: Style, performer: Performer) -> float:
    """How readily hands move, 1 for ordinary talk; 0 never."""
    seen = 1.0 if performer.hands_visible else HIDDEN
    return style.gesture_rate * score.energy * performer.liveliness * seen


def _chosen(score: Score, rate: float, style: Style, rng: np.random.Generator) -> list[Beat]:
    """Beats that get a stroke: each phrase's strongest, as many as the rate allows."""
    chosen: list[Beat] = []
    gap = 0.52 / style.gesture_speed + 0.22 / max(rate, 0.3)
    for index, phrase in enumerate(score.phrases):
        beats = [beat for beat in score.beats if beat.phrase == index]
        if not beats or rng.random() > 1.0 - np.exp(-1.9 * rate * (0.35 + 0.25 * phrase.length)):
            continue
        floor = 0.86 - 0.26 * min(rate, 1.8) + rng.normal(0.0, 0.06)
        taken: list[Beat] = []
        for beat in sorted(beats, key=lambda beat: -beat.strength):
            apart = all(abs(beat.start - other.start) >= gap for other in chosen + taken)
            if apart and (beat.strength > floor or not taken) and beat.start > _FIRST_S:
                taken.append(beat)
        chosen += taken
    return sorted(chosen, key=lambda beat: beat.start)


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
    rate = gesture_rate(score, style, performer)
    if rate <= 0.0 or not score.beats:
        return []
    size = style.gesture_size * (0.45 + 0.55 * score.energy) * performer.liveliness
    strokes: list[Stroke] = []
    gesture, index, left_to_make, last = draw(rng), 0, 0, -9.0
    hands = (False, True)
    for beat in _chosen(score, rate, style, rng):
        if left_to_make <= 0 or beat.start - last > 2.6:
            gesture, index = draw(rng, gesture.name), 0
            left_to_make = int(rng.integers(1, 3)) + len(gesture.strokes) - 1
            hands = _hands(gesture, style, performer, rng)
        time = beat.start - rng.uniform(0.004, 0.036)
        strong = size * (0.56 + 0.58 * beat.strength) * float(np.exp(rng.normal(0.0, 0.10)))
        hold = min(score.phrases[beat.phrase].end, time + 1.8)
        strokes.append(Stroke(time, strong, gesture, index, *hands, hold))
        index, left_to_make, last = index + 1, left_to_make - 1, beat.start
    return strokes
