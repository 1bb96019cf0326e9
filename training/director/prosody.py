"""What can be heard of how something is said: loudness, pitch, where the voice is raised, and how
much each phrase is meant, all from the sound alone.

Nothing is read from labels of text or delivery: what the director plays from here, a network that
hears the same sound can learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pipeline.models.mini.audio import SpeechFeatures
from training.director.motion import FPS, SAMPLES_PER_FRAME

F64 = NDArray[np.float64]

_MEL: Final = 8  # bands that are made and not used: voicing and pitch come after them
_VOICED: Final = 0.6
_FLOOR_DB: Final = -40.0  # under the loud frames
_SEMITONE_DB: Final = 0.6  # a semitone raises the voice as much as so many dB
_MEMORY_S: Final = 5.0  # of a speaker's running level
# pitch range (10 % to 90 %, semitones) of monotone, plain and emphatic speech, and what it is worth
_RANGE_ST: Final = (1.5, 3.5, 7.5, 12.0)
_MEANT: Final = (0.15, 0.36, 0.9, 1.7)
_SPREAD_DB: Final = (3.0, 4.5, 6.5, 8.5)  # the same for the spread of level among voiced frames


@dataclass(frozen=True, slots=True)
class Prosody:
    """Curves per frame, (frames,)."""

    level: F64  # dB under the loud frames, 40 ms smooth, not under the floor
    pitch: F64  # semitones over the speaker's own middle, held where there is no voice
    voiced: NDArray[np.bool_]
    raised: F64  # dB: loudness and pitch together, 100 ms smooth

    def heard(self, times: F64) -> F64:
        """How raised the voice is at ``times`` (s), over its surroundings of a second, in dB."""
        local = self.raised - gaussian_filter1d(self.raised, FPS)
        return np.interp(times * FPS - 0.5, np.arange(len(local)), local)

    def peak(self, start: float, end: float) -> float:
        """When between two times (s) the voice is raised most."""
        first = int(np.clip(start * FPS, 0, len(self.raised) - 1))
        last = int(np.clip(end * FPS, first, len(self.raised) - 1))
        return (first + int(self.raised[first : last + 1].argmax()) + 0.5) / FPS

    def meant(self) -> float:
        """How much the whole is meant, 0.15 monotone to 1.7 emphatic, by range and spread."""
        if self.voiced.sum() < 5:
            return 0.9
        low, high = np.percentile(self.pitch[self.voiced], (10, 90))
        spread = float(self.level[self.voiced].std())
        by_pitch = np.interp(high - low, _RANGE_ST, _MEANT)
        return float(0.8 * by_pitch + 0.2 * np.interp(spread, _SPREAD_DB, _MEANT))

    def vigour(self, spans: Sequence[tuple[float, float]]) -> F64:
        """How much each span (s) of speech is meant against the speaker's own running level."""
        out, running = list[float](), 0.0
        whole = self.meant()
        for start, end in spans:
            first, last = int(start * FPS), max(int(end * FPS), int(start * FPS) + 1)
            part = np.sort(self.raised[first:last])
            loud = float(part[len(part) // 3 :].mean()) if len(part) else running
            running = loud if not out else running
            over = np.clip(loud - running, -12.0, 9.0)
            share = 1.0 - np.exp(-(end - start) / _MEMORY_S)
            running += share * (loud - running)
            out.append(float(np.clip(whole * 10 ** (over / 13.0), 0.1, 2.2)))
        return np.array(out)


def hear(audio: NDArray[np.float32], frames: int) -> Prosody:
    """The prosody of sound (N,) in video frames."""
    sound = np.asarray(audio[: frames * SAMPLES_PER_FRAME], np.float32)
    power = np.square(sound.astype(np.float64)).reshape(frames, -1).mean(1)
    loud = 10 * np.log10(power + 1e-9)
    loud = np.maximum(loud - np.percentile(loud, 95), _FLOOR_DB)
    level = gaussian_filter1d(loud, 1.0)
    pitch, voiced = _pitch(sound, frames)
    raised = gaussian_filter1d(loud, 2.0) + _SEMITONE_DB * gaussian_filter1d(pitch * voiced, 2.0)
    return Prosody(level, pitch, voiced & (loud > -30.0), raised)


def _pitch(sound: NDArray[np.float32], frames: int) -> tuple[F64, NDArray[np.bool_]]:
    """Semitones over the middle of the voice, and where there is voice."""
    features = SpeechFeatures(_MEL).push(sound).numpy().astype(np.float64)
    voicing = features[:, _MEL + 1].reshape(frames, -1)
    octaves = features[:, _MEL + 2].reshape(frames, -1) / np.maximum(voicing, 0.1)
    clear = voicing > _VOICED
    voiced = clear.mean(1) >= 0.5
    if not voiced.any():
        return np.zeros(frames), voiced
    per_frame = np.where(clear, octaves, 0.0).sum(1) / np.maximum(clear.sum(1), 1)
    semitones = np.clip(12 * (per_frame - np.median(per_frame[voiced])), -14.0, 14.0)
    held = np.interp(np.arange(frames), np.flatnonzero(voiced), semitones[voiced])
    return np.asarray(held, np.float64), voiced
