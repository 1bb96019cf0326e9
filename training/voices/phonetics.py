"""What the mouth does for an IPA symbol, by its features: place, manner, height, rounding.

A phone becomes one or more *segments* (diphthongs glide, affricates are one closure), each a row
of lip and jaw targets with a weight that says how much the sound insists on each of them. Symbols
of any language are read feature by feature; marks (length, tone, voice) that the lips do not show
are skipped, and a letter that is no IPA sound is taken as a weak middle vowel.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CHANNELS: Final = (
    "jaw", "pucker", "funnel", "spread", "lower", "upper", "tongue", "forward", "close", "tuck",
)  # fmt: skip
JAW, PUCKER, FUNNEL, SPREAD, LOWER, UPPER, TONGUE, FORWARD, CLOSE, TUCK = range(len(CHANNELS))

# height 0 close .. 1 open, backness 0 front .. 1 back, rounding 0 .. 1
VOWELS: Final[Mapping[str, tuple[float, float, float]]] = {
    "i": (0.0, 0.0, 0), "y": (0.0, 0.0, 1), "ɨ": (0.0, 0.5, 0), "ʉ": (0.0, 0.5, 1),
    "ɯ": (0.0, 1.0, 0), "u": (0.0, 1.0, 1), "ɪ": (0.17, 0.2, 0), "ʏ": (0.17, 0.2, 0.9),
    "ʊ": (0.17, 0.8, 0.8), "ᵻ": (0.2, 0.4, 0), "ᵊ": (0.4, 0.5, 0), "e": (0.33, 0.0, 0),
    "ø": (0.33, 0.0, 1), "ɘ": (0.33, 0.5, 0), "ɵ": (0.33, 0.5, 0.8), "ɤ": (0.33, 1.0, 0),
    "o": (0.36, 1.0, 1),
    "ə": (0.42, 0.5, 0), "ɚ": (0.38, 0.6, 0.3), "ɛ": (0.62, 0.0, 0), "œ": (0.6, 0.0, 0.9),
    "ɜ": (0.5, 0.5, 0.1), "ɝ": (0.42, 0.6, 0.35), "ɞ": (0.6, 0.5, 0.8), "ʌ": (0.68, 0.8, 0),
    "ɔ": (0.66, 1.0, 0.85), "æ": (0.86, 0.0, 0), "ɐ": (0.75, 0.5, 0), "a": (0.95, 0.3, 0),
    "ɶ": (0.95, 0.0, 0.7), "ɑ": (1.0, 1.0, 0), "ɒ": (0.92, 1.0, 0.6),
}  # fmt: skip

PLACES: Final[Mapping[str, str]] = {
    "bilabial": "pbmɸβʙɓʘ",
    "labiodental": "fvɱʋⱱ",
    "dental": "θðǀ",
    "sibilant": "szʦʣɬɮ",
    "alveolar": "tdnrɾlɗǃǁɺ",
    "postalveolar": "ʃʒʧʤɕʑʨʥꭓ",
    "rhotic": "ɹɻ",
    "retroflex": "ʈɖɳɽʂʐɭᶑ",
    "palatal": "jɲcɟçʝʎʄǂ",
    "labial-velar": "wʍɥ",
    "velar": "kɡgŋxɣɰʟɠɧɫ",
    "uvular": "qɢɴʀχʁʛ",
    "glottal": "hɦʔħʕʢʡʜ",
}

# place -> channel -> (target, weight); a channel that is not named is left to the neighbours
_CONSONANTS: Final[Mapping[str, Mapping[int, tuple[float, float]]]] = {
    "bilabial": {JAW: (0.05, 1.0), LOWER: (0.0, 0.6), UPPER: (0.0, 0.6)},
    "labiodental": {JAW: (0.05, 1.3), LOWER: (0.0, 1.2), UPPER: (0.22, 1.2), FUNNEL: (0.0, 0.5)},
    "dental": {JAW: (0.13, 0.9), TONGUE: (1.0, 4.0), LOWER: (0.25, 0.7), UPPER: (0.1, 0.5)},
    "sibilant": {
        JAW: (0.045, 1.3), SPREAD: (0.3, 0.35), LOWER: (0.38, 1.0), UPPER: (0.16, 0.8),
        FORWARD: (0.15, 1.0),
    },
    "alveolar": {JAW: (0.11, 0.6), SPREAD: (0.15, 0.12), LOWER: (0.2, 0.4), UPPER: (0.08, 0.3)},
    "postalveolar": {
        JAW: (0.045, 1.2), PUCKER: (0.32, 0.9), FUNNEL: (0.48, 1.0), SPREAD: (0.0, 0.9),
        LOWER: (0.16, 0.8), UPPER: (0.12, 0.8), FORWARD: (0.25, 1.0),
    },
    "rhotic": {JAW: (0.11, 0.6), PUCKER: (0.36, 0.6), FUNNEL: (0.25, 0.6), SPREAD: (0.0, 0.5)},
    "retroflex": {JAW: (0.1, 0.6), PUCKER: (0.12, 0.3), FUNNEL: (0.22, 0.4), LOWER: (0.15, 0.3)},
    "palatal": {JAW: (0.06, 0.7), SPREAD: (0.5, 0.6), LOWER: (0.2, 0.4), UPPER: (0.1, 0.4)},
    "labial-velar": {
        JAW: (0.08, 1.0), PUCKER: (0.95, 1.6), FUNNEL: (0.15, 1.0), SPREAD: (0.0, 1.5),
        LOWER: (0.0, 0.8), UPPER: (0.0, 0.8),
    },
    "velar": {JAW: (0.15, 0.35), LOWER: (0.15, 0.2), UPPER: (0.05, 0.2)},
    "uvular": {JAW: (0.2, 0.4), LOWER: (0.15, 0.2)},
    "glottal": {JAW: (0.2, 0.08)},
}  # fmt: skip

_KIND: Final[Mapping[str, str]] = {c: place for place, all_ in PLACES.items() for c in all_}
_SKIPPED: Final = set("ːˑˈˌ.|‖ʰʼˀˤ˞˥˦˧˨˩ꜜꜛ↗↘0123456789'\"-_:;!?~^*() ")
_WEIGHT: Final = 0.04  # what a sound that does not care still weighs


@dataclass(frozen=True, slots=True)
class Segment:
    """Targets and weights per channel over a share of its phone."""

    target: F64  # (CHANNELS,)
    weight: F64  # (CHANNELS,)
    share: float
    vowel: bool


def _vowel(letter: str) -> tuple[F64, F64]:
    height, back, rounding = VOWELS[letter]
    target = np.zeros(len(CHANNELS))
    weight = np.full(len(CHANNELS), 0.9)
    open_ = 1.0 - rounding
    target[JAW] = 0.09 + 0.37 * height - 0.05 * rounding * height
    target[PUCKER] = rounding * (0.95 - 0.75 * height)
    target[FUNNEL] = rounding * (0.07 + 0.60 * min(height, 0.7))
    target[SPREAD] = open_ * (1.0 - back) * (0.75 - 0.55 * height)
    target[LOWER] = 0.12 + 0.22 * height * open_ + 0.1 * open_ * (1.0 - back)
    target[UPPER] = 0.05 + 0.16 * open_ * (1.0 - back) + 0.05 * height
    weight[PUCKER] = weight[FUNNEL] = 0.5 + 0.8 * rounding
    weight[SPREAD] = 0.7 + 0.4 * rounding
    weight[TONGUE] = 0.4
    if letter in "əɐᵻ":
        weight *= 0.6
    return target, weight


def _consonant(place: str) -> tuple[F64, F64]:
    target, weight = np.zeros(len(CHANNELS)), np.full(len(CHANNELS), _WEIGHT)
    weight[TONGUE] = 0.4
    for channel, (value, insists) in _CONSONANTS[place].items():
        target[channel], weight[channel] = value, insists
    return target, weight


def _closing(letter: str) -> tuple[float, float]:
    """How far a sound closes the lips, and how far it tucks the lower lip under the teeth."""
    place = _KIND.get(letter, "")
    if place == "bilabial":
        return (0.72 if letter in "ɸβ" else 1.0), 0.0
    if place == "labiodental":
        return (0.5 if letter == "ɱ" else 0.0), (0.7 if letter == "ʋ" else 1.0)
    return 0.0, 0.0


def _sound(letter: str, rounded: bool, palatal: bool) -> tuple[F64, F64, bool]:
    vowel = letter in VOWELS
    target, weight = _vowel(letter) if vowel else _consonant(_KIND[letter])
    target[CLOSE], target[TUCK] = _closing(letter)
    if rounded:
        target[PUCKER], weight[PUCKER] = max(target[PUCKER], 0.6), max(weight[PUCKER], 0.9)
    if palatal:
        target[SPREAD], weight[SPREAD] = max(target[SPREAD], 0.35), max(weight[SPREAD], 0.4)
    return target, weight, vowel


def _letters(ipa: str) -> list[tuple[str, bool, bool]]:
    """Base letters with their (rounded, palatalised) marks; combining marks fall away."""
    out: list[tuple[str, bool, bool]] = []
    for char in unicodedata.normalize("NFD", ipa.replace("ç", "ç")):
        if char == "\u0327" and out and out[-1][0] == "c":
            out[-1] = ("ç", *out[-1][1:])
        elif char in "ʷʲ" and out:
            letter, rounded, palatal = out[-1]
            out[-1] = (letter, rounded or char == "ʷ", palatal or char == "ʲ")
        elif char in VOWELS or char in _KIND:
            out.append((char, False, False))
        elif char.isalpha() and char not in _SKIPPED and not unicodedata.combining(char):
            lower = char.lower()
            known = lower in VOWELS or lower in _KIND
            out.append((lower if known else "ə", False, False))
    return out


@lru_cache(maxsize=4096)
def segments(ipa: str) -> tuple[Segment, ...]:
    """The segments of a phone in order, their shares adding to 1; none for silence."""
    letters = _letters(ipa)
    if not letters:
        return ()
    sounds = [(*_sound(*item), item[0]) for item in letters]
    affricate = len(sounds) == 2 and letters[0][0] in "tdʈɖ" and not sounds[1][2]
    if affricate:
        sounds = sounds[1:]
    shares = np.array([1.0 if vowel else 0.7 for _, _, vowel, _ in sounds])
    if len(sounds) == 2 and sounds[0][2] and sounds[1][2]:
        shares = np.array([0.55, 0.45])
    shares /= shares.sum()
    return tuple(
        Segment(target, weight, float(share), vowel)
        for (target, weight, vowel, _), share in zip(sounds, shares, strict=True)
    )


def is_vowel(ipa: str) -> bool:
    """Whether a phone carries a syllable: it has a vowel, or a syllabic consonant's mark."""
    return "\u0329" in ipa or any(segment.vowel for segment in segments(ipa))
