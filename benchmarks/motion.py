"""Figures of motion: lips against the truth, joins of chunks, energy of gestures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.posed_person import bundled_body
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.state import SLICES

FRAME_MS: Final = 40.0
MAX_LAG: Final = 8  # frames either way
States = NDArray[np.float32]
Series = NDArray[np.float64]


@cache
def _average_person() -> Person:
    body = bundled_body()
    return Person(body, body.shape())


def mouth_opening(states: States) -> Series:
    """Metres between the inner lips of an average person, (frames,)."""
    person = _average_person()
    return np.array([person.lip_gap(person.pose(state)) for state in states])


@dataclass(frozen=True, slots=True)
class LipSync:
    """Correlation of mouth openings at lag zero, and the lag at which it is highest."""

    r: float
    lag_ms: float


def _correlation(a: Series, b: Series) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


def lip_sync(truth: Series, made: Series) -> LipSync:
    """Compares two openings of the same speech; positive lag means ``made`` comes late.

    The lag is refined between frames by a parabola through the three highest correlations.
    """
    size = min(len(truth), len(made))
    truth, made = truth[:size], made[:size]
    inner = truth[MAX_LAG : size - MAX_LAG]
    at = [
        _correlation(inner, made[MAX_LAG + lag : size - MAX_LAG + lag])
        for lag in range(-MAX_LAG, MAX_LAG + 1)
    ]
    best = int(np.argmax(at))
    lag = best - MAX_LAG + (_vertex(at[best - 1 : best + 2]) if 0 < best < 2 * MAX_LAG else 0.0)
    return LipSync(_correlation(truth, made), lag * FRAME_MS)


def _vertex(three: list[float]) -> float:
    """Where the parabola through values at -1, 0, 1 is highest."""
    a, b, c = three
    bend = a - 2 * b + c
    return 0.5 * (a - c) / bend if bend < 0 else 0.0


def seam_ratio(states: States, joins: list[int], weight: NDArray[np.float32]) -> float:
    """Motion jump at chunk joins over motion inside chunks.

    The jump of a frame is the change of velocity there, ||s[k+1] - 2 s[k] + s[k-1]||, in units of
    each value's spread (``weight`` = 1 / spread); ``joins`` are the first frames of chunks.
    """
    bend = np.linalg.norm(np.diff(states * weight, n=2, axis=0), axis=1)  # bend[i] is at i + 1
    at = np.zeros(len(bend), bool)
    for join in joins:
        at[max(0, join - 2) : join] = True  # the two bends that touch the join
    return float(bend[at].mean() / bend[~at].mean())


def gesture_energy(states: States) -> float:
    """Mean square velocity of both arms, rad^2 / s^2 a joint."""
    arms = np.concatenate([states[:, SLICES["left_arm"]], states[:, SLICES["right_arm"]]], axis=1)
    return float(np.square(np.diff(arms, axis=0) * 25.0).mean())
