"""A recording without labels as a clip that the director can perform: syllables by loudness alone.

Good enough for hands, head and brows; the mouth of such a performance says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from training.voices.clips import SAMPLE_RATE, Clip, Phone

_STEP = SAMPLE_RATE // 100
_SPEAKS_DB = -32.0  # under the loud steps
_PAUSE = 16  # steps of quiet that part two phrases
_SYLLABLE = 12  # steps between two syllables


def unlabelled_clip(audio: NDArray[np.float32], name: str) -> Clip:
    """The recording (N,) with a consonant and a vowel for every syllable that can be heard."""
    steps = audio[: len(audio) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    level = 10 * np.log10(np.square(steps).mean(1) + 1e-10)
    loud = gaussian_filter1d(level - np.percentile(level, 95), 2.0)
    centres = find_peaks(loud, height=_SPEAKS_DB, distance=_SYLLABLE, prominence=2.0)[0]
    usual = float(np.median(loud[centres])) if len(centres) else 0.0
    phones, at = list[Phone](), 0
    for word, (start, centre, end) in enumerate(_syllables(loud, centres)):
        start, centre, end = (max(k * _STEP, at) for k in (start, centre, end))
        if start > at:
            phones.append(Phone(at, start, ""))
        onset = start + 2 * (centre - start) // 3
        if onset > start:
            phones.append(Phone(start, onset, "t", word=word))
        if end > onset:
            stress = int(loud[centre // _STEP] >= usual)
            phones.append(Phone(onset, end, "a", stress, word))
        at = end
    if at < len(audio):
        phones.append(Phone(at, len(audio), ""))
    return Clip(audio, tuple(phones), f"recording/{name}", "", "plain", "")


def _syllables(loud: NDArray[np.float64], centres: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """First step, loudest step and end of each syllable; a pause belongs to none."""
    speaks = loud > _SPEAKS_DB
    out = []
    for i, centre in enumerate(centres.tolist()):
        low = int(centres[i - 1]) if i else 0
        high = int(centres[i + 1]) if i + 1 < len(centres) else len(loud)
        start = low + int(loud[low:centre].argmin()) if i else 0
        end = centre + int(loud[centre:high].argmin()) if i + 1 < len(centres) else len(loud)
        out.append((_within(speaks, centre, start, -1), centre, _within(speaks, centre, end, 1)))
    return out


def _within(speaks: NDArray[np.bool_], centre: int, edge: int, way: int) -> int:
    """From the centre to the edge, but no further than the last step before a pause."""
    quiet, last = 0, centre
    for at in range(centre, edge, way):
        quiet = 0 if speaks[at] else quiet + 1
        if quiet >= _PAUSE:
            return last
        last = last if quiet else at + (way > 0)
    return edge if quiet == 0 else last
