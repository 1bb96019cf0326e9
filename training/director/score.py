"""What a clip says to the body: phrases, beats, loudness and energy, read from its phones.

The director plays from this score as a pianist does. Where syllables and words are it knows from
labels; how strong a beat is and how much a phrase is meant it hears (``prosody.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.director.motion import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_times, spring
from training.director.prosody import Prosody, hear
from training.voices.clips import Clip, Phone
from training.voices.phonetics import is_vowel

F64 = NDArray[np.float64]

_PAUSE_S: Final = 0.16
_NEAR: Final = 0.1  # of the text, between a pause and the mark it is taken for
_CLAUSE: Final = re.compile(r"[^.!?,;:…。！？，；：।¿¡]+([.!?,;:…。！？，；：।]*)")


@dataclass(frozen=True, slots=True)
class Beat:
    """A syllable that stands out: its vowel's span in seconds, when the voice is raised most, how
    strong it is, and its phrase."""

    start: float
    end: float
    peak: float
    strength: float  # 0 .. ~1.5
    phrase: int
    emphasis: bool


@dataclass(frozen=True, slots=True)
class Phrase:
    """Speech between two pauses, in seconds."""

    start: float
    end: float
    question: bool
    exclamation: bool
    final: bool  # a sentence ends with it
    pause: float  # silence before it
    vigour: float  # how much it is meant, ~0.1 murmured, 1 plain, ~2 emphatic

    @property
    def length(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Score:
    """All that motion is timed and sized by."""

    frames: int
    times: F64  # (frames,) the middles of frames, seconds
    phones: tuple[Phone, ...]
    phone_loudness: F64  # (phones,) 0 .. 1
    loudness: F64  # (frames,) 0 .. 1
    speech: F64  # (frames,) 1 inside phrases
    phrases: tuple[Phrase, ...]
    beats: tuple[Beat, ...]
    vigour: F64  # (frames,) of the phrase that is spoken, slowly changing
    energy: float  # the mean of its phrases; 0 where nobody speaks

    @property
    def seconds(self) -> float:
        return self.frames / FPS


def _decibels(audio: F64, frames: int) -> F64:
    power = np.square(audio[: frames * SAMPLES_PER_FRAME]).reshape(frames, -1).mean(axis=1)
    return np.asarray(10.0 * np.log10(power + 1e-9))


def _loudness(clip: Clip, frames: int) -> F64:
    """0 at 30 dB under the clip's loud syllables, 1 at them; smoothed over three frames."""
    level = _decibels(np.asarray(clip.audio, np.float64), frames)
    loud = np.clip(1.0 + (level - np.percentile(level, 92)) / 30.0, 0.0, 1.1)
    padded = np.pad(loud, 1, mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def _spans(phones: Sequence[Phone]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for phone in phones:
        if not phone.ipa.strip():
            continue
        start, end = phone.start / SAMPLE_RATE, phone.end / SAMPLE_RATE
        if spans and start - spans[-1][1] < _PAUSE_S:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _endings(text: str, spans: Sequence[tuple[float, float]]) -> list[str]:
    """The punctuation that closes each phrase: the mark at the same share of the text as the
    phrase's end is of the speech, if one is near."""
    clauses = [m for m in _CLAUSE.finditer(text) if m.group(0).strip() and m.group(1)]
    if not clauses:
        return [""] * (len(spans) - 1) + ["."]
    at = np.array([match.end() / len(text) for match in clauses])
    said = np.cumsum([end - start for start, end in spans])
    near = [int(np.abs(at - share).argmin()) for share in said / said[-1]]
    near[-1] = len(clauses) - 1
    return [
        clauses[i].group(1) if abs(at[i] - share) < _NEAR else ""
        for i, share in zip(near, said / said[-1], strict=True)
    ]


def _phrases(clip: Clip, prosody: Prosody) -> tuple[Phrase, ...]:
    spans = _spans(clip.phones)
    if not spans:
        return ()
    marks = _endings(clip.text, spans)
    before = [0.0] + [end for _, end in spans[:-1]]
    meant = prosody.vigour(spans).tolist()
    return tuple(
        Phrase(
            start, end, any(c in mark for c in "?？"), any(c in mark for c in "!！"),
            any(c in mark for c in ".!?…。！？。") or i == len(spans) - 1, start - earlier, vigour,
        )
        for i, ((start, end), mark, earlier, vigour) in enumerate(
            zip(spans, marks, before, meant, strict=True)
        )
    )  # fmt: skip


def _strengths(vowels: Sequence[Phone], prosody: Prosody, peaks: F64) -> F64:
    """Strength of vowels: how far the voice is raised over its surroundings, and their length."""
    raised = np.clip(0.18 + 0.062 * prosody.heard(peaks), 0.0, 1.3)
    length = np.log2([phone.end - phone.start for phone in vowels])
    longer = np.clip(0.5 * (length - np.median(length)), -0.3, 0.4)
    return np.asarray(np.maximum(raised + 0.4 * longer, 0.0))


def _beats(clip: Clip, phrases: Sequence[Phrase], prosody: Prosody) -> tuple[Beat, ...]:
    """The strongest vowel of every word."""
    vowels = [phone for phone in clip.phones if is_vowel(phone.ipa)]
    if not vowels:
        return ()
    spans = [(p.start / SAMPLE_RATE, p.end / SAMPLE_RATE) for p in vowels]
    peaks = np.array([prosody.peak(start, end) for start, end in spans])
    starts = np.array([phrase.start for phrase in phrases])
    best: dict[tuple[int, int], Beat] = {}
    strengths = _strengths(vowels, prosody, peaks)
    for phone, (start, end), peak, strength in zip(vowels, spans, peaks, strengths, strict=True):
        phrase = max(int(np.searchsorted(starts, start + 1e-6)) - 1, 0)
        key = (phrase, phone.word if phone.word >= 0 else -2 - phone.start)
        if key not in best or best[key].strength < strength:
            leaned = bool(strength > 0.9 and phrases[phrase].vigour > 0.9)
            best[key] = Beat(start, end, float(peak), float(strength), phrase, leaned)
    return tuple(sorted(best.values(), key=lambda beat: beat.start))


def _vigour(times: F64, phrases: Sequence[Phrase]) -> F64:
    """The vigour of the phrase at each time, falling to nothing in pauses."""
    steps = np.zeros(len(times))
    for phrase in phrases:
        steps[(times >= phrase.start - 0.15) & (times < phrase.end)] = phrase.vigour
    return spring(steps, 1.5)


def _inside(times: F64, phrases: Sequence[Phrase]) -> F64:
    speech = np.zeros(len(times))
    for phrase in phrases:
        speech[(times >= phrase.start) & (times < phrase.end)] = 1.0
    return speech


def read_score(clip: Clip) -> Score:
    """The score of ``clip``; ``ValueError`` when it is shorter than one frame."""
    frames = len(clip.audio) // SAMPLES_PER_FRAME
    if frames < 1:
        raise ValueError(f"a clip needs {SAMPLES_PER_FRAME} samples, got {len(clip.audio)}")
    times = frame_times(frames)
    speaks = any(phone.ipa.strip() for phone in clip.phones)
    loudness = _loudness(clip, frames) if speaks else np.zeros(frames)
    middles = [(phone.start + phone.end) / 2 / SAMPLE_RATE for phone in clip.phones]
    heard = np.interp(middles, times, loudness)
    prosody = hear(clip.audio, frames)
    phrases = _phrases(clip, prosody)
    lengths = [phrase.length for phrase in phrases]
    energy = float(np.average([p.vigour for p in phrases], weights=lengths)) if phrases else 0.0
    return Score(
        frames, times, clip.phones, heard, loudness, _inside(times, phrases), phrases,
        _beats(clip, phrases, prosody), _vigour(times, phrases), energy,
    )  # fmt: skip
