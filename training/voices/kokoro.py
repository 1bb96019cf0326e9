"""Natural speech with known phones, by Kokoro-82M, word by word as a reading asks for.

A reading says how fast, how high, how lively and how loud a sentence is, and which words are leaned
on. Durations, pitch and energy are changed between the parts of the graph, so labels stay exact:
they *are* the durations, less a constant by which they lag the sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from pipeline import onnx_runtime
from training.voices import kokoro_files
from training.voices.clips import SAMPLE_RATE, Phone
from training.voices.kokoro_text import Token, tokens_of
from training.voices.spoken import Spoken, merge_silence

F32 = NDArray[np.float32]

FRAME: Final = SAMPLE_RATE // 40  # samples at 16 kHz of a frame of the durations
LAG: Final = 2  # frames by which the labels come after the sound
_VOICED_HZ: Final = 30.0
_QUIET_DB: Final = -32.0  # under the loud parts of a sentence: nobody speaks
_PAUSE: Final = round(0.08 * SAMPLE_RATE)  # a shorter gap is no silence
_STEP: Final = 160  # samples of one level


@dataclass(frozen=True, slots=True)
class Lean:
    """How a word differs from its sentence."""

    stretch: float = 1.0
    raise_st: float = 0.0  # semitones, on the stressed syllable most
    energy: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How one sentence is read; the defaults change nothing."""

    speed: float = 1.0
    raise_st: float = 0.0
    range: float = 1.0  # factor on the pitch's excursions about its mean
    energy: float = 0.0
    leans: dict[int, Lean] = field(default_factory=dict)  # by word, counted by white space

    def __post_init__(self) -> None:
        if not 0.5 <= self.speed <= 2.0:
            raise ValueError(f"speed must lie in 0.5 to 2, got {self.speed}")
        if not 0.0 <= self.range <= 3.0:
            raise ValueError(f"range must lie in 0 to 3, got {self.range}")


class Kokoro:
    """The three parts of the graph, each on one thread."""

    def __init__(self, folder: Path = kokoro_files.CACHE) -> None:
        runtime = onnx_runtime.load()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._files = kokoro_files.fetched(folder)
        self._parts = {
            name: runtime.InferenceSession(
                self._files.graph(name), options, providers=["CPUExecutionProvider"]
            )
            for name in ("plan", "tune", "say")
        }
        self._styles: dict[str, F32] = {}

    def speak(self, text: str, voice: str, reading: Reading | None = None) -> Spoken:
        """Speak one sentence of English. ``voice`` is a name, or "TIMBRE~MANNER" for the throat of
        one voice with the ways of another. Raises ValueError for unknown voices and long text.
        """
        reading = reading or Reading()
        tokens = tokens_of(text, british=voice.startswith("b"))
        style = self._style(voice, len(tokens) - 2)
        given = {"tokens": np.array([[t.id for t in tokens]], np.int64), "style": style}
        planned = self._run("plan", given | {"speed": np.array([reading.speed], np.float32)})[0]
        frames = _stretched(planned.reshape(-1), tokens, reading)
        given[kokoro_files.DURATIONS] = frames.reshape(planned.shape).astype(np.float32)
        pitch, energy = self._run("tune", given)
        given[kokoro_files.PITCH] = _sung(pitch, tokens, frames, reading)
        given[kokoro_files.ENERGY] = energy + _energy(tokens, frames, reading)
        (sound,) = self._run("say", given)
        audio = resample_poly(sound.reshape(-1), 2, 3).astype(np.float32)
        spoken = _labelled(audio, tokens, frames)
        return replace(spoken, audio=_louder(audio, spoken.phones, reading))

    def _run(self, part: str, inputs: dict[str, Any]) -> list[Any]:
        outputs: list[Any] = self._parts[part].run(None, inputs)
        return outputs

    def _style(self, voice: str, length: int) -> F32:
        """The vector (1, 256): the first half is the throat, the second the manner."""
        throat, _, manner = voice.partition("~")
        rows = [self._rows(name)[min(length, 509)] for name in (throat, manner or throat)]
        return np.concatenate([rows[0][:128], rows[1][128:]])[None]

    def _rows(self, name: str) -> F32:
        if name not in self._styles:
            self._styles[name] = np.fromfile(self._files.voice(name), np.float32).reshape(-1, 256)
        return self._styles[name]


@cache
def engine() -> Kokoro:
    """The one engine of this process; fetches the voices when they are missing."""
    return Kokoro()


def _stretched(planned: F32, tokens: list[Token], reading: Reading) -> NDArray[np.int64]:
    """Whole frames of every token, leaned words longer."""
    factor = [reading.leans[t.word].stretch if t.word in reading.leans else 1.0
              for t in tokens]  # fmt: skip
    return np.maximum(np.rint(planned * factor), 1).astype(np.int64)


def _per_value(tokens: list[Token], frames: NDArray[np.int64], values: list[float]) -> F32:
    """A number of each token as a curve at two values a frame, without steps."""
    curve = np.repeat(np.array(values, np.float32), 2 * frames)
    return np.asarray(uniform_filter1d(curve, 5, mode="nearest"), np.float32)


def _sung(pitch: F32, tokens: list[Token], frames: NDArray[np.int64], reading: Reading) -> F32:
    """The pitch (any shape of two values a frame), moved and scaled where there is voice."""
    flat = pitch.reshape(-1)
    voiced = flat > _VOICED_HZ
    if not voiced.any():
        return pitch
    octaves = np.log2(np.where(voiced, flat, 1.0))
    mean = float(octaves[voiced].mean())
    lift = _per_value(tokens, frames, [_lift(t, reading) for t in tokens])
    moved = mean + reading.range * (octaves - mean) + (reading.raise_st + lift) / 12
    hz = np.clip(2.0 ** np.clip(moved, 5.4, 9.2), 45.0, 550.0)
    return np.where(voiced, hz, flat).astype(np.float32).reshape(pitch.shape)


def _lift(token: Token, reading: Reading) -> float:
    lean = reading.leans.get(token.word)
    return lean.raise_st * (1.0 if token.stress == 1 else 0.5) if lean else 0.0


def _energy(tokens: list[Token], frames: NDArray[np.int64], reading: Reading) -> F32:
    leans = [reading.leans.get(t.word) for t in tokens]
    values = [reading.energy + (lean.energy if lean else 0.0) for lean in leans]
    return _per_value(tokens, frames, values)[None]


def _louder(audio: F32, phones: tuple[Phone, ...], reading: Reading) -> F32:
    """Words raised by their gains, with ramps of 60 ms."""
    gain = np.zeros(len(audio), np.float32)
    for phone in phones:
        if phone.word in reading.leans:
            gain[phone.start : phone.end] = reading.leans[phone.word].gain_db
    smooth = uniform_filter1d(gain, round(0.06 * SAMPLE_RATE), mode="nearest")
    return np.asarray(audio * 10 ** (smooth / 20), np.float32)


# -- labels --------------------------------------------------------------------------------------


def _labelled(audio: F32, tokens: list[Token], frames: NDArray[np.int64]) -> Spoken:
    """Phones over the sound: marks of stress belong to the vowel after, a gap between words to both
    neighbours, and of a pause what is quiet is silence."""
    ends = np.clip((np.cumsum(frames) - LAG) * FRAME, 0, len(audio)).tolist()
    spans, pauses, lead = list[tuple[int, int, Token]](), {0}, -1
    for token, start, end in zip(tokens, [0, *ends], ends):
        if token.kind == "lead":
            lead = start
        elif token.kind == "phone":
            spans.append((lead if lead >= 0 else start, end, token))
            lead = -1
        elif token.kind == "tail" and spans:
            spans[-1] = (spans[-1][0], end, spans[-1][2])
        elif token.kind == "pause":
            pauses.add(len(spans))
    bounds = [_boundary(spans, k, k in pauses, audio) for k in range(len(spans) + 1)]
    return Spoken(audio, _phones(spans, bounds, len(audio)))


def _boundary(
    spans: list[tuple[int, int, Token]], k: int, pause: bool, audio: F32
) -> tuple[int, int]:
    """Where the sound before ``spans[k]`` ends and where ``spans[k]`` starts."""
    left, right = (spans[k - 1] if k else None), (spans[k] if k < len(spans) else None)
    if pause:
        low = (left[0] + left[1]) // 2 if left else 0
        high = (right[0] + right[1]) // 2 if right else len(audio)
        run = _longest_quiet(audio, low, high)
        if run:
            return (run[0] if left else 0), (run[1] if right else len(audio))
    before, after = (left[1] if left else 0), (right[0] if right else len(audio))
    middle = (before + after) // 2 if left and right else (after if right else before)
    return (middle, middle) if left and right else (before, after)


def _longest_quiet(audio: F32, low: int, high: int) -> tuple[int, int] | None:
    """The longest stretch of samples in [low, high) in which nobody speaks, if it is a pause."""
    steps = audio[: len(audio) // _STEP * _STEP].reshape(-1, _STEP)
    level = 10 * np.log10(np.square(steps).mean(1) + 1e-10)
    quiet = level < np.percentile(level, 95) + _QUIET_DB
    first, best, run = -(-low // _STEP), (0, 0), 0
    for i in range(first, min(high // _STEP, len(quiet))):
        run = run + 1 if quiet[i] else 0
        if run > best[1] - best[0]:
            best = (i + 1 - run, i + 1)
    start, end = best[0] * _STEP, best[1] * _STEP
    return (start, end) if end - start >= _PAUSE else None


def _phones(
    spans: list[tuple[int, int, Token]], bounds: list[tuple[int, int]], samples: int
) -> tuple[Phone, ...]:
    """Phones end to end, silence where the bounds leave room."""
    phones: list[Phone] = []
    at = 0
    for k, (_, _, token) in enumerate(spans):
        start = max(at, bounds[k][1])
        stop = max(bounds[k + 1][0], start)
        if start > at:
            phones.append(Phone(at, start, ""))
        if stop > start:
            phones.append(Phone(start, stop, token.ipa, token.stress, token.word, token.emphasis))
        at = stop
    if samples > at:
        phones.append(Phone(at, samples, ""))
    return merge_silence(phones)
