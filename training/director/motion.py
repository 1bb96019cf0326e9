"""Curves that living things follow: minimum jerk, bumps, keyed moves, springs and slow wandering.

Everything here is a pure function of times in seconds. It knows nothing of speech, faces or arms.
A frame's state is taken at the frame's middle, so that motion and sound agree on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter

F64 = NDArray[np.float64]

FPS: Final = 25
SAMPLE_RATE: Final = 16_000
SAMPLES_PER_FRAME: Final = SAMPLE_RATE // FPS


def frame_times(frames: int) -> F64:
    """Seconds of the middles of ``frames`` video frames, (frames,)."""
    return (np.arange(frames) + 0.5) / FPS


def minimum_jerk(u: F64) -> F64:
    """The smooth step from 0 to 1 while ``u`` goes from 0 to 1 (Flash and Hogan, 1985)."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * u * (10.0 + u * (6.0 * u - 15.0))


def bump(times: F64, peak: float, rise: float, fall: float, hold: float = 0.0) -> F64:
    """A hill of height 1: up to ``peak`` in ``rise`` s, kept for ``hold`` s, down in ``fall`` s."""
    up = minimum_jerk((times - (peak - rise)) / rise)
    return up * (1.0 - minimum_jerk((times - (peak + hold)) / fall))


@numba.njit(cache=True)
def _add_bumps(out, times, peaks, heights, rise, fall):  # type: ignore[no-untyped-def]
    rate = 1.0 / (times[1] - times[0]) if len(times) > 1 else 1.0
    for k in range(len(peaks)):
        first = max(0, int((peaks[k] - rise[k] - times[0]) * rate))
        last = min(len(times), int((peaks[k] + fall[k] - times[0]) * rate) + 2)
        for i in range(first, last):
            tau = times[i] - peaks[k]
            u = 1.0 + tau / rise[k] if tau < 0.0 else 1.0 - tau / fall[k]
            if u > 0.0:
                out[i] += heights[k] * u * u * u * (10.0 + u * (6.0 * u - 15.0))


def bumps(
    times: F64,
    peaks: Sequence[float] | F64,
    heights: Sequence[float] | F64,
    rise: Sequence[float] | F64 | float,
    fall: Sequence[float] | F64 | float,
) -> F64:
    """The sum of many hills over evenly spaced ``times``."""
    out = np.zeros(len(times))
    at = np.asarray(peaks, np.float64)
    if len(at):
        size = np.broadcast_to(np.asarray(heights, np.float64), at.shape)
        up = np.broadcast_to(np.asarray(rise, np.float64), at.shape)
        down = np.broadcast_to(np.asarray(fall, np.float64), at.shape)
        _add_bumps(out, times, at, size, up, down)
    return out


def moves(times: F64, key_times: Sequence[float] | F64, values: Sequence[F64] | F64) -> F64:
    """Minimum-jerk moves through keys: (k,) times and (k, c) or (k,) values -> (n, c) or (n,).

    Every key is a moment of rest; before the first and after the last key the value is held.
    """
    at = np.maximum.accumulate(np.asarray(key_times, np.float64))
    value = np.asarray(values, np.float64)
    if len(at) == 1:
        return np.repeat(value[:1], len(times), axis=0)
    left = np.clip(np.searchsorted(at, times, side="right") - 1, 0, len(at) - 2)
    span = np.maximum(at[left + 1] - at[left], 1e-6)
    u = minimum_jerk((times - at[left]) / span)
    u = u.reshape(u.shape + (1,) * (value.ndim - 1))
    return value[left] * (1.0 - u) + value[left + 1] * u


def spring(target: F64, cutoff_hz: float, rate: float = FPS) -> F64:
    """A critically damped follower of ``target`` (n,) or (n, c); it starts at rest on it."""
    pole = float(np.exp(-2.0 * np.pi * cutoff_hz / rate))
    out = target
    for _ in range(2):
        start = pole * out[:1]
        out, _ = lfilter([1.0 - pole], [1.0, -pole], out, axis=0, zi=start)
    return out


def wander(rng: np.random.Generator, times: F64, period_s: float, channels: int = 1) -> F64:
    """Smooth aimless drift, about unit variance, that never repeats: (n, channels)."""
    length = float(times[-1] - times[0]) if len(times) else 0.0
    count = int(length / (0.6 * period_s)) + 6
    knots = np.cumsum(rng.uniform(0.6, 1.4, count)) * period_s
    knots += (times[0] if len(times) else 0.0) - 3.0 * period_s
    values = np.clip(rng.normal(0.0, 1.0, (count, channels)), -1.8, 1.8)
    return np.asarray(CubicSpline(knots, values)(times), np.float64)
