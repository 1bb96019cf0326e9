"""How arms follow the way something is said: pure functions of body states and sound.

Nothing here generates or directs. Speeds are norms over all angles of both arms, radians a second;
sound is float32 mono at 16 kHz. Times are seconds, frames are video frames.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import find_peaks
from scipy.stats import spearmanr

from benchmarks.motion import Series, States
from pipeline.models.mini.audio import FRAMES_PER_SECOND, SpeechFeatures
from pipeline.models.mini.config import FRAME_RATE, SAMPLES_PER_FRAME
from pipeline.models.mini.rig.state import SLICES

Sound = NDArray[np.float32]
SPEAKS_DB: Final = -30.0  # under the loud frames: somebody speaks
BEFORE: Final = round(0.25 * FRAME_RATE)  # frames in which a stroke comes to its peak
APART_S: Final = 0.55  # between two peaks
RISES_DB: Final = 3.0  # of a peak over what surrounds it
SIGMA_S: Final = 0.1  # of beat consistency
SHAKES_HZ: Final = 4.0  # faster than a hand moves on purpose
_MEL: Final = 8  # bands that are asked for and not used: pitch and voicing come after them


def arms(states: States) -> Series:
    """Angles of both arms, (frames, 28)."""
    both = [states[:, SLICES["left_arm"]], states[:, SLICES["right_arm"]]]
    return np.concatenate(both, axis=1).astype(np.float64)


def arm_speed(states: States) -> Series:
    """Speed of the arms on the way to each frame, (frames,)."""
    steps = np.linalg.norm(np.diff(arms(states), axis=0), axis=1) * FRAME_RATE
    return np.concatenate([steps[:1], steps]) if len(steps) else np.zeros(len(states))


def level(sound: Sound, frames: int) -> Series:
    """Loudness of each frame in dB under the loud frames, (frames,)."""
    padded = np.pad(sound, (0, max(0, frames * SAMPLES_PER_FRAME - len(sound))))
    power = np.square(padded[: frames * SAMPLES_PER_FRAME].astype(np.float64))
    found = 10 * np.log10(power.reshape(frames, -1).mean(1) + 1e-10)
    loud = found[found > -60]
    return np.asarray(found - (np.percentile(loud, 95) if len(loud) else 0.0), np.float64)


def pitch(sound: Sound, frames: int) -> Series:
    """Semitones over the speaker's mean pitch where there is voice, else 0, (frames,)."""
    hop = FRAMES_PER_SECOND // FRAME_RATE
    padded = np.pad(sound, (0, max(0, frames * SAMPLES_PER_FRAME - len(sound))))
    features = SpeechFeatures(_MEL).push(padded[: frames * SAMPLES_PER_FRAME]).numpy()
    voicing, octaves = features[:, _MEL + 1], features[:, _MEL + 2]
    voiced = voicing > 0.6
    if not voiced.any():
        return np.zeros(frames)
    semitones = 12 * (
        octaves / np.maximum(voicing, 0.1) - np.median((octaves / np.maximum(voicing, 0.1))[voiced])
    )
    clean = np.where(voiced, np.clip(semitones, -12, 12), 0.0)
    return np.asarray(clean.reshape(frames, hop).mean(1), np.float64)


# -- peaks ---------------------------------------------------------------------------------------


def prosodic_peaks(sound: Sound, frames: int) -> NDArray[np.int64]:
    """Frames at which the voice is raised: loudness and pitch together, over their surroundings.

    The director of the training motion aims its strokes by nearly this formula; ``onsets`` is the
    measure that owes nothing to it.
    """
    loud = gaussian_filter1d(np.maximum(level(sound, frames), -40.0), 2.0)
    high = gaussian_filter1d(pitch(sound, frames), 2.0)
    raised = loud + 0.6 * high
    local = raised - gaussian_filter1d(raised, FRAME_RATE)
    found, _ = find_peaks(
        raised, distance=round(APART_S * FRAME_RATE), prominence=RISES_DB, height=SPEAKS_DB
    )
    return np.asarray(found[local[found] > 0.0], np.int64)


def onsets(sound: Sound, frames: int) -> NDArray[np.int64]:
    """Frames at which loudness rises fastest: where syllables begin."""
    loud = gaussian_filter1d(np.maximum(level(sound, frames), -45.0), 1.0)
    rise = np.maximum(np.gradient(loud), 0.0)
    return np.asarray(find_peaks(rise, height=1.5, distance=4)[0], np.int64)


def before_peaks(speed: Series, peaks: NDArray[np.int64], speaks: NDArray[np.bool_]) -> float:
    """Speed in the quarter of a second before peaks over the mean while somebody speaks.

    1 is chance; NaN without peaks or motion.
    """
    inside = uniform_filter1d(speaks.astype(float), FRAME_RATE) > 0.2
    spans = [speed[k - BEFORE : k + 1].mean() for k in peaks if BEFORE <= k < len(speed)]
    usual = speed[inside].mean() if inside.any() else 0.0
    return float(np.mean(spans) / usual) if spans and usual > 0 else float("nan")


def shuffled(speaks: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many frames drawn from the speech at random: the control of ``before_peaks``."""
    where = np.flatnonzero(uniform_filter1d(speaks.astype(float), FRAME_RATE) > 0.2)
    where = where[where >= BEFORE]
    return (
        np.sort(rng.choice(where, min(count, len(where)), replace=False)) if len(where) else where
    )


def beat_consistency(speed: Series, beats: NDArray[np.int64]) -> float:
    """How near beats of the sound have a beat of the motion, 0 to 1 (BEAT, Liu et al. 2022).

    A beat of the motion is a local minimum of the arms' speed.
    """
    rests = find_peaks(-gaussian_filter1d(speed, 1.0))[0]
    if not len(rests) or not len(beats):
        return float("nan")
    apart = np.abs(beats[:, None] - rests[None]).min(1) / FRAME_RATE
    return float(np.exp(-np.square(apart) / (2 * SIGMA_S**2)).mean())


# -- loudness ------------------------------------------------------------------------------------


def loudness_rank(speed: Series, sound: Sound) -> float:
    """Rank correlation of the arms' speed with loudness in windows of one second.

    NaN for fewer than four windows, or where one of both never changes.
    """
    size = FRAME_RATE
    starts = range(0, len(speed) - size + 1, size // 2)
    loud = np.square(10 ** (level(sound, len(speed)) / 20))
    moved = np.array([speed[s : s + size].mean() for s in starts])
    heard = np.array([loud[s : s + size].mean() for s in starts])
    if len(moved) < 4 or np.ptp(moved) == 0 or np.ptp(heard) == 0:
        return float("nan")
    return float(spearmanr(moved, heard).statistic)


# -- manner --------------------------------------------------------------------------------------


def energy(states: States) -> float:
    """Mean square speed of a joint of the arms, (rad/s)^2."""
    return float(np.square(np.diff(arms(states), axis=0) * FRAME_RATE).mean())


def jerk(states: States) -> float:
    """Root mean square of the third derivative of a joint of the arms, rad/s^3."""
    return float(np.sqrt(np.square(np.diff(arms(states), n=3, axis=0) * FRAME_RATE**3).mean()))


def tremor(states: States) -> float:
    """Share of the arms' motion that is faster than hands move on purpose."""
    velocity = np.diff(arms(states), axis=0)
    power = np.square(np.abs(np.fft.rfft(velocity * np.hanning(len(velocity))[:, None], axis=0)))
    fast = np.fft.rfftfreq(len(velocity), 1 / FRAME_RATE) > SHAKES_HZ
    return float(power[fast].sum() / max(power.sum(), 1e-12))


def diversity(states: States) -> float:
    """Mean L1 distance of the arms from their mean pose, radians (BEAT)."""
    angles = arms(states)
    return float(np.abs(angles - angles.mean(0)).sum(1).mean())


def repetition(states: States) -> float:
    """Distance of each second of motion to the most similar one elsewhere, over its own size.

    0 is a loop; NaN where there are no two seconds to compare.
    """
    angles, size = arms(states), FRAME_RATE
    windows = np.array([angles[s : s + size] - angles[s] for s in range(0, len(angles) - size, 5)])
    if len(windows) < 20:
        return float("nan")
    flat = windows.reshape(len(windows), -1)
    own = np.linalg.norm(flat, axis=1)
    apart = np.sqrt(np.maximum(own[:, None] ** 2 + own[None] ** 2 - 2 * flat @ flat.T, 0.0))
    index = np.arange(len(flat))
    apart[np.abs(index[:, None] - index[None]) < 10] = np.inf  # two seconds
    moving = own > np.median(own)
    return float(np.median(apart[moving].min(1) / own[moving]))


def frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Fréchet distance of two sets of features (n, d), each taken as a Gaussian."""
    offset = np.square(first.mean(0) - second.mean(0)).sum()
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.real(sqrtm(a @ b))
    return float(offset + np.trace(a) + np.trace(b) - 2 * np.trace(root))
