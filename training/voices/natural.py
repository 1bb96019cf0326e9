"""Clips of natural voices whose delivery is varied on purpose: murmured to shouted, flat to meant.

Every sentence of a clip has an *intensity* of its own, around the clip's delivery: 0 is monotone, 1
is spoken with emphasis. Pitch range, level, tempo and how hard words are leaned on follow from it,
so that the same text comes in many deliveries and a clip has loud and quiet passages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.voices import kokoro
from training.voices.clips import SAMPLE_RATE, Clip
from training.voices.kokoro import Lean, Reading
from training.voices.spoken import Spoken, join, silence, starred, trim
from training.voices.texts import sentence
from training.voices.timbre import Timbre, retimbre

KEPT: Final = ("af_kore", "am_puck", "bf_isabella", "bm_fable")  # whoever checks hears them first
HELD_OUT: Final = ("af_bella", "am_fenrir", "bf_alice", "bm_lewis", "if_sara")
VOICES: Final = (
    "af_alloy", "af_aoede", "af_heart", "af_jessica", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_liam", "am_michael", "am_onyx",
    "am_santa", "bf_emma", "bf_lily", "bm_daniel", "bm_george",
)  # fmt: skip
ACCENTS: Final = (  # speakers of other languages, reading English
    "ef_dora", "em_alex", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi", "im_nicola",
    "jf_alpha", "jf_gongitsune", "jm_kumo", "pf_dora", "pm_alex", "zf_xiaobei", "zf_xiaoxiao",
    "zm_yunjian", "zm_yunxi", "zm_yunyang",
)  # fmt: skip
_DELIVERIES: Final = {"flat": 0.25, "plain": 0.4, "emphatic": 0.35}
_INTENSITY: Final = {"flat": (0.0, 0.3), "plain": (0.35, 0.85), "emphatic": (0.9, 1.5)}
_PEAKS: Final = {"flat": (0.08, 0.35), "plain": (0.15, 0.7), "emphatic": (0.35, 0.95)}
_CONTRAST: Final = 0.35  # of plain clips: sentences between monotone and emphatic
_LONGEST_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Speaker:
    """One natural voice, the same for the whole of a clip."""

    voice: str  # as `kokoro` calls it
    timbre: Timbre
    speed: float
    raise_st: float


def cast(rng: np.random.Generator, *, heldout: bool = False) -> Speaker:
    """Draw a speaker; half of them have the throat of one voice and the ways of another."""
    pool = HELD_OUT if heldout else (ACCENTS if rng.random() < 0.25 else VOICES)
    voice = str(rng.choice(pool))
    if rng.random() < 0.5:
        voice += f"~{rng.choice(HELD_OUT if heldout else VOICES)}"
    stretch = float(np.clip(rng.normal(1.0, 0.035), 0.92, 1.09)) if rng.random() < 0.5 else 1.0
    speed = float(np.clip(rng.lognormal(0.0, 0.11), 0.78, 1.28))
    return Speaker(voice, Timbre(round(stretch, 2), rng.normal(0, 0.8)), speed, rng.normal(0, 0.7))


def natural_clip(rng: np.random.Generator, *, heldout: bool = False) -> Clip:
    """Draw a speaker, a delivery and sentences of English, and speak them with pauses between."""
    speaker = cast(rng, heldout=heldout)
    delivery = str(rng.choice(list(_DELIVERIES), p=list(_DELIVERIES.values())))
    target = int(rng.uniform(6.0, _LONGEST_S - 4) * SAMPLE_RATE)
    base = float(rng.uniform(*_INTENSITY[delivery]))
    mixed = delivery == "plain" and rng.random() < _CONTRAST
    pieces, texts, length = [_pause(rng, 0.3)], list[str](), 0
    while length < target:
        intensity = float(rng.uniform(0.0, 1.5)) if mixed else _near(base, delivery, rng)
        kind = str(rng.choice(("", "contrast", "negation", "list"), p=(0.7, 0.1, 0.1, 0.1)))
        text = lean_on(sentence("en", rng, heldout=heldout, kind=kind), intensity, rng)
        spoken = read(text, speaker, intensity, rng)
        if texts and length + len(spoken.audio) > _LONGEST_S * SAMPLE_RATE:
            break
        pieces += [spoken, _pause(rng, 0.5)]
        texts.append(text)
        length = sum(len(piece.audio) for piece in pieces)
    return _clip(pieces, speaker, delivery, " ".join(texts), rng)


def say(text: str, voice: str, intensity: float, *, delivery: str = "plain", seed: int = 0) -> Clip:
    """One sentence by a named voice at one intensity, for tests and benchmarks."""
    rng = np.random.default_rng(seed)
    speaker = Speaker(voice, Timbre(), 1.0, 0.0)
    pause = silence(round(0.3 * SAMPLE_RATE))
    pieces = [pause, read(text, speaker, intensity, rng), pause]
    whole = join(pieces)
    return Clip(whole.audio, whole.phones, f"kokoro/{voice}", "en", delivery, text)


def read(text: str, speaker: Speaker, intensity: float, rng: np.random.Generator) -> Spoken:
    """One sentence at an intensity, its level relative to plain speech (intensity 0.6)."""
    reading = reading_of(text, speaker, intensity, rng)
    spoken = trim(kokoro.engine().speak(text, speaker.voice, reading), round(0.03 * SAMPLE_RATE))
    gain = 10 ** (level_db(intensity) / 20)
    return Spoken((spoken.audio * gain).astype(np.float32), spoken.phones)


def level_db(intensity: float) -> float:
    """Level of a sentence over plain speech."""
    return float(np.interp(intensity, (0.0, 0.6, 1.5), (-7.0, 0.0, 6.0)))


def reading_of(text: str, speaker: Speaker, intensity: float, rng: np.random.Generator) -> Reading:
    """How the sentence is read; the words between stars are leaned on as hard as it is meant."""
    strength = intensity * rng.uniform(0.7, 1.2)
    leans = {word: _lean(strength * rng.uniform(0.8, 1.2)) for word in starred(text)}
    hurry = float(np.exp(rng.normal(0.02 * (intensity - 0.6), 0.05)))
    return Reading(
        speed=float(np.clip(speaker.speed * hurry, 0.7, 1.4)),
        raise_st=speaker.raise_st + 1.5 * (intensity - 0.6),
        range=float(np.interp(intensity, (0.0, 0.6, 1.5), (0.3, 1.0, 1.8)) * rng.uniform(0.9, 1.1)),
        energy=float(np.clip(1.2 * (intensity - 0.6), -1.0, 1.2)),
        leans=leans,
    )


def _lean(strength: float) -> Lean:
    return Lean(1.0 + 0.35 * strength, 3.0 * strength, 1.3 * strength, 4.0 * strength)


def lean_on(text: str, intensity: float, rng: np.random.Generator) -> str:
    """Stars around the words to lean on: none of a flat sentence, more the more it is meant."""
    plain = text.replace("*", "")
    if intensity < 0.3:
        return plain
    chosen = set(starred(text)) if rng.random() < 0.4 + 0.4 * intensity else set[int]()
    words = plain.split()
    long = [i for i, word in enumerate(words) if len(re.sub(r"\W", "", word)) > 3]
    rng.shuffle(long)
    for i in long[: int(rng.poisson(0.12 * intensity * len(words)))]:
        if not chosen & {i - 1, i, i + 1}:
            chosen.add(i)
    return " ".join(_star(word) if i in chosen else word for i, word in enumerate(words))


def _star(word: str) -> str:
    return re.sub(r"^(\W*)(.*?)(\W*)$", r"\1*\2*\3", word)


def _near(base: float, delivery: str, rng: np.random.Generator) -> float:
    spread = 0.06 if delivery == "flat" else 0.22
    return float(np.clip(base + rng.normal(0.0, spread), 0.0, 1.5))


def _pause(rng: np.random.Generator, typical_s: float) -> Spoken:
    seconds = float(np.clip(typical_s * rng.lognormal(0, 0.6), 0.12, 2.0))
    return silence(round(seconds * SAMPLE_RATE))


def _clip(
    pieces: Sequence[Spoken], speaker: Speaker, delivery: str, text: str, rng: np.random.Generator
) -> Clip:
    whole = join(pieces)
    audio = _throat(whole.audio, speaker.timbre, rng)
    loudest = float(np.abs(audio).max()) or 1.0
    audio = (audio * (float(rng.uniform(*_PEAKS[delivery])) / loudest)).astype(np.float32)
    return Clip(audio, whole.phones, f"kokoro/{speaker.voice}", "en", delivery, text)


def _throat(
    audio: NDArray[np.float32], timbre: Timbre, rng: np.random.Generator
) -> NDArray[np.float32]:
    return retimbre(audio, timbre, rng) if timbre.stretch != 1.0 else audio
