"""A stretch of synthesised speech with its phones, and the joining of such stretches.

Engines return `Spoken`; what happens to sound and timing together happens here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from training.voices.clips import SAMPLE_RATE, Phone

VOWELS = frozenset("aeiouyæøœɶɐɑɒʌɔəɘɚɛɜɝɞɤɨɪɯɵʉʊʏᵻᵊ")
STOPS = frozenset("pbtdkɡgqɢʈɖcɟʔ")
_MODIFIERS = frozenset("ːˑʲʰʷ̩̯̃ˤ̪̚͡ˠ̥")
_SPELLING = {"ã": "ã", "õ": "õ", "ũ": "ũ", "ĩ": "ĩ", "ẽ": "ẽ", ":": "ː"} | dict.fromkeys(
    "-?\"'!|", ""
)
_WHOLE = {"ss": "s", "sx": "ʃ", "aa": "aː"}  # espeak's own names where it has no IPA


@dataclass(frozen=True, slots=True)
class Spoken:
    audio: NDArray[np.float32]  # (N,) at 16 kHz
    phones: tuple[Phone, ...]  # gapless over N

    @property
    def words(self) -> int:
        return 1 + max((phone.word for phone in self.phones), default=-1)


def silence(samples: int) -> Spoken:
    """Digital silence."""
    return Spoken(np.zeros(samples, np.float32), (Phone(0, samples, ""),) if samples else ())


def lay(ends: Iterable[float], phones: Sequence[Phone], samples: int) -> tuple[Phone, ...]:
    """Put phones end to end at `ends` (samples, may be fractions), the last one at `samples`.

    Phones that vanish by rounding are dropped; neighbouring silences become one.
    """
    at, laid = 0, []
    last = len(phones) - 1
    for i, (end, phone) in enumerate(zip(ends, phones, strict=True)):
        stop = samples if i == last else min(round(end), samples)
        if stop > at:
            laid.append(replace(phone, start=at, end=stop))
            at = stop
    if laid and at < samples:
        laid[-1] = replace(laid[-1], end=samples)
    return merge_silence(laid)


def merge_silence(phones: Sequence[Phone]) -> tuple[Phone, ...]:
    """Join neighbouring silences; a silence has no word, stress or emphasis."""
    merged: list[Phone] = []
    for quiet, run in groupby(phones, key=lambda phone: phone.ipa == ""):
        group = list(run)
        merged += [Phone(group[0].start, group[-1].end, "")] if quiet else group
    return tuple(merged)


def starred(text: str) -> set[int]:
    """Which of a text's words, counted by white space, stand between *stars*."""
    leaned, inside = set(), False
    for i, word in enumerate(text.split()):
        if inside or "*" in word:
            leaned.add(i)
        inside ^= word.count("*") % 2 == 1
    return leaned


def is_vowel(ipa: str) -> bool:
    """Whether a phone is a vowel or a diphthong."""
    return ipa[:1] in VOWELS and ipa != ""


def split_ipa(name: str) -> list[str]:
    """Split a compound phone such as 'əl' or 'ja' where vowels meet consonants.

    Marks that are no sounds go; a name of nothing but such marks gives [].
    """
    parts: list[str] = []
    for symbol in _decompose(name):
        if symbol in _MODIFIERS and not parts:
            continue
        if parts and (symbol in _MODIFIERS or _same_kind(parts[-1], symbol)):
            parts[-1] += symbol
        else:
            parts.append(symbol)
    return parts


def _decompose(name: str) -> str:
    plain = "".join(_SPELLING.get(symbol, symbol) for symbol in name)
    return _WHOLE.get(plain, plain)


def _same_kind(part: str, symbol: str) -> bool:
    return (part[0] in VOWELS) == (symbol in VOWELS)


def to_16k(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Resample to 16 kHz with a linear-phase polyphase filter: nothing moves in time."""
    if rate == SAMPLE_RATE:
        return audio
    common = gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(audio, SAMPLE_RATE // common, rate // common)
    return np.asarray(resampled, np.float32)


def play_faster(spoken: Spoken, factor: float) -> Spoken:
    """Play speech `factor` times as fast: pitch and formants rise with it, timing stays exact."""
    ratio = Fraction(factor).limit_denominator(40)
    audio = resample_poly(spoken.audio, ratio.denominator, ratio.numerator).astype(np.float32)
    ends = [phone.end / float(ratio) for phone in spoken.phones]
    return Spoken(audio, lay(ends, spoken.phones, len(audio)))


def trim(spoken: Spoken, keep: int) -> Spoken:
    """Cut silence at both ends down to `keep` samples."""
    phones = spoken.phones
    first = phones[0].end - keep if phones and phones[0].ipa == "" else 0
    last = phones[-1].start + keep if phones and phones[-1].ipa == "" else len(spoken.audio)
    first, last = max(first, 0), min(last, len(spoken.audio))
    if last <= first:
        return silence(0)
    kept = [p for p in phones if p.end > first and p.start < last]
    moved = [
        replace(p, start=max(p.start, first) - first, end=min(p.end, last) - first) for p in kept
    ]
    return Spoken(spoken.audio[first:last], tuple(moved))


def join(pieces: Sequence[Spoken]) -> Spoken:
    """Set pieces one after the other; their words go on counting."""
    phones: list[Phone] = []
    at = words = 0
    for piece in pieces:
        for p in piece.phones:
            word = p.word + words if p.word >= 0 else -1
            phones.append(replace(p, start=p.start + at, end=p.end + at, word=word))
        at += len(piece.audio)
        words += piece.words
    audio = np.concatenate([piece.audio for piece in pieces])
    return Spoken(audio, merge_silence(phones))
