"""The sound of ``hibari-tts``: level, pauses, a lower voice, times of words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.speech.voice import Timed

RATE: Final = 24_000
IPA: Final = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ"} | {
    "ʤ": "dʒ",
    "ʧ": "tʃ",
    "ᵊ": "ə",
    "ᵻ": "ɪ",
}
STRESS: Final = "ˈˌ"
LEAD_S, TAIL_S = 0.03, 0.25  # silence that is left before a sentence, and after it
SILENT: Final = 0.02
LEVEL, PEAK = 0.1, 0.9  # of a sentence: RMS, and what its loudest sample may reach
LOWER: Final = (0.55, 0.86)  # pitch and formants of a man's voice, over those of a woman's
UNVOICED_HZ: Final = 40.0  # a pitch below it means none
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence: int16 at 24 kHz, its words as they are read, and its phones in IPA."""

    pcm: NDArray[np.int16]
    words: tuple[Timed, ...]
    phones: tuple[Timed, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its phonemes."""

    text: str
    phonemes: str


def lowered(bands: list[Floats], pitch: Floats) -> tuple[list[Floats], Floats]:
    """Bands (bins, frames) and pitch (frames,) of a longer throat and slower folds.

    Between the harmonics of the old voice the harmonic bands are never heard, so they hold
    anything there: what the new harmonics find is read at the nearest of the old ones.
    """
    bins = len(bands[0])
    source = np.minimum(np.arange(bins)[:, None] / LOWER[1], bins - 1)  # (bins, 1)
    step = np.maximum(pitch, 1e-6) / (RATE / 2 / (bins - 1))  # bins between harmonics, (frames,)
    nearest = np.maximum(np.rint(source / step), 1) * step
    voiced = np.where(pitch > UNVOICED_HZ, np.minimum(nearest, bins - 1), source)
    plain = np.broadcast_to(source, voiced.shape)
    places = [np.rint(at).astype(np.intp) for at in (voiced, voiced, plain, plain, plain)]
    moved = [np.take_along_axis(band, at, 0) for band, at in zip(bands, places, strict=True)]
    return moved, pitch * LOWER[0]


def levelled(sound: Floats) -> NDArray[np.int16]:
    """As loud as speech is sent, and never cut off."""
    rms, peak = float(np.sqrt(np.mean(sound**2))), float(np.abs(sound).max())
    gain = min(LEVEL / max(rms, 1e-6), PEAK / max(peak, 1e-6))
    return (sound * (gain * 32_767)).astype(np.int16)


def trimmed(spoken: Spoken) -> Spoken:
    """Without most of the silence around it, which the model makes longer than a pause is."""
    loud = np.flatnonzero(np.abs(spoken.pcm) > SILENT * 32_767)
    if not len(loud):
        return spoken
    begin = max(0, int(loud[0]) - int(LEAD_S * RATE))
    pcm = spoken.pcm[begin : int(loud[-1]) + int(TAIL_S * RATE)]
    end_s, shift = len(pcm) / RATE, begin / RATE

    def moved(all_timed: tuple[Timed, ...]) -> tuple[Timed, ...]:
        edges = [
            (t.text, *np.clip([t.start_s - shift, t.end_s - shift], 0, end_s)) for t in all_timed
        ]
        return tuple(Timed(text, float(start), float(end)) for text, start, end in edges)

    return Spoken(pcm, moved(spoken.words), moved(spoken.phones))


def word_times(
    words: Sequence[Word], letters: Sequence[tuple[int, str]], edges: Sequence[float]
) -> list[Timed]:
    """The words that hold a letter or a digit, with their times."""
    spans: dict[int, tuple[float, float]] = {}
    for at, (index, letter) in enumerate(letters):
        if letter.isalpha():
            begun = spans.get(index, (edges[at], 0.0))[0]
            spans[index] = (begun, edges[at + 1])
    return [Timed(words[index].text, *span) for index, span in spans.items()]


def phone_times(letters: Sequence[tuple[int, str]], edges: Sequence[float]) -> list[Timed]:
    """Phones in IPA; a stress mark has a time of its own, which belongs to the sound after it."""
    found: list[Timed] = []
    begun: float | None = None
    for at, (_, letter) in enumerate(letters):
        start = edges[at] if begun is None else begun
        begun = start if letter in STRESS else None
        if letter.isalpha() and letter not in STRESS:
            found.append(Timed(IPA.get(letter, letter), start, edges[at + 1]))
    return found
