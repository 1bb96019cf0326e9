"""Speech sounds to mouth units: dominance functions blend targets, closures are laid on top.

Every sound pulls each lip and jaw channel to its target with a weight that grows before the sound
and decays after it (Cohen and Massaro, 1993), on a 200 Hz grid; frames take the mean over their
own 40 ms. Lip closures are envelopes of their own that never miss a frame, so that a fast
"p" still shuts the mouth. Nearly nothing here is random: the mouth follows from the sound.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pipeline.models.mini.rig.state import INDEX, MOUTH
from training.director.motion import FPS, minimum_jerk
from training.director.score import Score
from training.voices.phonetics import (
    CHANNELS,
    CLOSE,
    FORWARD,
    FUNNEL,
    JAW,
    LOWER,
    PUCKER,
    SPREAD,
    TONGUE,
    TUCK,
    UPPER,
    segments,
)

F64 = NDArray[np.float64]

_GRID: Final = 8  # grid points per frame: 200 Hz
_RATE: Final = FPS * _GRID
_BLENDED: Final = len(CHANNELS) - 2  # CLOSE and TUCK are envelopes
# decay (1/s) of a sound's pull before it and after it, per channel: the lips anticipate by ~100 ms
_LEAD: Final = np.array([22.0, 11.0, 12.0, 14.0, 22.0, 22.0, 40.0, 20.0])
_LAG: Final = np.array([24.0, 17.0, 17.0, 18.0, 24.0, 24.0, 40.0, 22.0])
_INERTIA_S: Final = (0.012, 0.026, 0.026, 0.020, 0.010, 0.010, 0.014, 0.020)
_REACH_S: Final = 0.35
_SHUT_S: Final = 0.055  # the lips come together and part in this time
_TUCK_S: Final = 0.075  # and the lower lip goes under the teeth in this
_REST: Final = np.array([0.012, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


@numba.njit(cache=True, fastmath=True)
def _blend(begin, end, target, weight, lead, lag, points, rate, reach, rest):  # type: ignore[no-untyped-def]
    channels = target.shape[1]
    total = np.full((points, channels), 0.03)
    out = np.empty((points, channels))
    for c in range(channels):
        for i in range(points):
            out[i, c] = 0.03 * rest[c]
    for s in range(len(begin)):
        first = max(0, int((begin[s] - reach) * rate))
        last = min(points, int((end[s] + reach) * rate) + 1)
        for i in range(first, last):
            time = (i + 0.5) / rate
            before, after = begin[s] - time, time - end[s]
            for c in range(channels):
                pull = weight[s, c]
                if before > 0.0:
                    pull *= np.exp(-lead[c] * before)
                elif after > 0.0:
                    pull *= np.exp(-lag[c] * after)
                out[i, c] += pull * target[s, c]
                total[i, c] += pull
    return out / total


def _effort(score: Score, gain: float) -> F64:
    """How wide each phone is spoken: stress, leaning, loudness, delivery and the performer."""
    stress = np.array([0.84, 1.08, 0.98])[[phone.stress for phone in score.phones]]
    lean = np.where([phone.emphasis for phone in score.phones], 1.18, 1.0)
    loud = 0.72 + 0.42 * score.phone_loudness
    return stress * lean * loud * gain * (0.88 + 0.14 * score.energy)


def _timeline(score: Score, gain: float) -> tuple[F64, F64, F64, F64]:
    """Core begin and end, targets and weights of all segments of the clip, silences among them."""
    begin, end, target, weight = [], [], [], []
    quiet = np.zeros(len(CHANNELS))
    quiet[JAW] = _REST[0]
    for phone, wide in zip(score.phones, _effort(score, gain), strict=True):
        at, length = phone.start / 16_000, (phone.end - phone.start) / 16_000
        parts = segments(phone.ipa)
        if not parts:
            edge = min(0.06, 0.35 * length)
            begin.append(at + edge)
            end.append(at + length - edge)
            target.append(quiet)
            weight.append(np.full(len(CHANNELS), 0.55))
        for part in parts:
            span = part.share * length
            begin.append(at + 0.30 * span)
            end.append(at + 0.70 * span)
            scaled = part.target * (wide if part.vowel else 0.5 + 0.5 * wide)
            scaled[CLOSE:] = part.target[CLOSE:]
            target.append(scaled)
            weight.append(part.weight)
            at += span
    return np.array(begin), np.array(end), np.array(target), np.array(weight)


def _envelope(begin: F64, end: F64, depth: F64, frames: int, shut_s: float) -> F64:
    """Per frame, how far closures of ``depth`` have come.

    Full for at least a frame's length, so that one frame's middle always falls into it.
    """
    out = np.zeros(frames)
    for b, e, size in zip(begin, end, depth, strict=True):
        core = e - b
        half, ramp = max(0.55 * core, 0.5 / FPS + 0.001), min(0.032 + 0.4 * core, shut_s)
        middle = 0.5 * (b + e)
        first = max(0, int((middle - half - ramp) * FPS))
        last = min(frames, int((middle + half + ramp) * FPS) + 2)
        outside = np.abs((np.arange(first, last) + 0.5) / FPS - middle) - half
        hill = size * minimum_jerk(1.0 - outside / ramp)
        out[first:last] = np.maximum(out[first:last], hill)
    return out


def mouth_channels(score: Score, gain: float = 1.0) -> F64:
    """The channels of ``phonetics.CHANNELS`` per frame, (frames, channels)."""
    begin, end, target, weight = _timeline(score, gain)
    points = score.frames * _GRID
    blended = _blend(
        begin, end, target[:, :_BLENDED], weight[:, :_BLENDED], _LEAD, _LAG, points,
        float(_RATE), _REACH_S, _REST,
    )  # fmt: skip
    out = np.empty((score.frames, len(CHANNELS)))
    for channel, inertia_s in enumerate(_INERTIA_S):
        blended[:, channel] = gaussian_filter1d(blended[:, channel], inertia_s * _RATE)
    out[:, :_BLENDED] = blended.reshape(score.frames, _GRID, _BLENDED).mean(axis=1)
    for channel, shut_s in ((CLOSE, _SHUT_S), (TUCK, _TUCK_S)):
        on = target[:, channel] > 0.0
        out[:, channel] = _envelope(begin[on], end[on], target[on, channel], score.frames, shut_s)
    return out


def _both(out: F64, name: str, value: F64, left: float) -> None:
    """Write a paired unit, ``left`` (about 1) of it on the left side and the rest on the right."""
    out[:, INDEX[f"{name}Left"]] = value * left
    out[:, INDEX[f"{name}Right"]] = value * (2.0 - left)


def mouth_units(channels: F64, smile: F64, left: float = 1.0) -> F64:
    """The mouth part of the state, (frames, 29), with ``smile`` (frames,) underneath."""
    c = np.clip(channels, 0.0, 1.0).T
    shut, tuck = c[CLOSE], c[TUCK]
    free = 1.0 - shut
    out = np.zeros((len(channels), len(MOUTH)))
    jaw = c[JAW] * (1.0 - 0.8 * shut) * (1.0 - 0.6 * tuck)
    rounding = np.maximum(c[PUCKER], c[FUNNEL])
    out[:, INDEX["jawOpen"]] = jaw
    out[:, INDEX["jawForward"]] = c[FORWARD]
    out[:, INDEX["mouthClose"]] = jaw * shut
    out[:, INDEX["mouthPucker"]] = c[PUCKER] * (1.0 - 0.2 * shut)
    out[:, INDEX["mouthFunnel"]] = c[FUNNEL] * free * (1.0 - tuck)
    out[:, INDEX["mouthRollLower"]] = 0.16 * shut + 0.55 * tuck * free
    out[:, INDEX["mouthRollUpper"]] = 0.14 * shut
    out[:, INDEX["tongueOut"]] = 0.28 * c[TONGUE] * free
    _both(out, "mouthPress", 0.32 * shut, left)
    _both(out, "mouthStretch", 0.55 * c[SPREAD] * (1.0 - 0.6 * shut), left)
    _both(out, "mouthDimple", 0.18 * c[SPREAD] * (1.0 - 0.5 * shut), left)
    _both(out, "mouthSmile", smile * (1.0 - 0.55 * rounding) + 0.25 * c[SPREAD], left)
    _both(out, "mouthLowerDown", c[LOWER] * free * (1.0 - tuck), left)
    _both(out, "mouthUpperUp", c[UPPER] * free, left)
    return out
