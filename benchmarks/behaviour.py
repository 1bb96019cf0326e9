"""Figures of manner: gestures and what they follow, gaze, blinks, prompts told apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.generate import Motion
from benchmarks.heldout import Spoken
from benchmarks.lips import Row, states_of
from benchmarks.motion import FRAME_MS, States, gesture_energy
from pipeline.models.mini.rig.state import INDEX, SLICES
from training.director.director import direct
from training.director.prompts import WORDS
from training.director.score import read_score
from training.director.styles import STYLES
from training.voices.generate import say

TEXTS: Final = (
    "This is *really* important, and *everybody* here should know why it *matters* so much.",
    "We *never* agreed to that, and I will *not* sign it, whatever *they* say tomorrow.",
)
VOICES: Final = ("espeak/en-us+f4", "espeak/en-gb-scotland+paul")
SILENCE: Final = np.zeros(16_000 * 8, np.float32)
STROKE: Final = 6  # frames of a stroke
CONTACT: Final = 0.08  # radians from the viewer's face
SHUT: Final = 0.5


def readings(motion: Motion, reference: NDArray[np.float32], count: int) -> dict[str, list[float]]:
    """Energy of the arms in ``count`` flat and emphatic readings of each text by each voice."""
    energy: dict[str, list[float]] = defaultdict(list)
    for voice in VOICES:
        for text in TEXTS:
            for seed in range(count):
                for delivery in ("flat", "emphatic"):
                    audio = say(text, voice, delivery, seed=seed).audio
                    states = motion.perform(audio, reference, "", seed)
                    energy[delivery].append(gesture_energy(states))
    for seed in range(count):
        energy["silence"].append(gesture_energy(motion.perform(SILENCE, reference, "", seed)))
    return energy


def gestures(motion: Motion, held: Sequence[Spoken], count: int = 3) -> Row:
    """Energy of the arms by reading, against silence, and against the director's."""
    energy = readings(motion, held[0].performer.reference(), count)
    made = [states_of(motion, h, i) for i, h in enumerate(held)]
    truth = [gesture_energy(h.states) for h in held]
    speech = [gesture_energy(states) for states in made]
    silent, default = _mean(energy["silence"]), _mean(energy["flat"] + energy["emphatic"])
    return {
        "gesture_emphatic_over_flat": _mean(energy["emphatic"]) / _mean(energy["flat"]),
        "gesture_speech_over_silence": default / max(silent, 1e-9),
        "gesture_in_silence": silent,
        "gesture_over_truth": _mean(speech) / _mean(truth),
        "gesture_rank_with_truth": float(spearmanr(truth, speech).statistic),
        **beats(held, made),
        **gaze_and_blinks(held, made),
    }


# -- beats ---------------------------------------------------------------------------------------


def drive(states: States, beats: NDArray[np.float64]) -> float:
    """Speed of the arms on the way to ``beats`` (seconds), over their speed in general.

    A stroke lands with the vowel of a stressed syllable, so arms that follow the speech are
    fastest in the quarter of a second before it; 1 is chance. NaN without beats.
    """
    arms = np.concatenate([states[:, SLICES["left_arm"]], states[:, SLICES["right_arm"]]], axis=1)
    speed = np.linalg.norm(np.diff(arms, axis=0), axis=1)
    at = np.rint(beats * 1e3 / FRAME_MS).astype(int)
    spans = [speed[k - STROKE : k + 1] for k in at if STROKE <= k < len(speed)]
    if not spans or not speed.any():
        return float("nan")
    return float(np.mean(spans) / speed.mean())


def beats(held: Sequence[Spoken], made: Sequence[States]) -> Row:
    """Drive of the arms to stressed syllables: generated, the truth, and another clip's beats."""
    stressed = [_stressed(h) for h in held]
    own = [drive(m, b) for m, b in zip(made, stressed, strict=True)]
    truth = [drive(h.states, b) for h, b in zip(held, stressed, strict=True)]
    other = [drive(made[i], stressed[i - 1]) for i in range(len(held))]
    return {
        "beat_drive": float(np.nanmean(own)),
        "beat_drive_truth": float(np.nanmean(truth)),
        "beat_drive_control": float(np.nanmean(other)),
    }


def _stressed(held: Spoken) -> NDArray[np.float64]:
    """The starts of the stronger half of stressed vowels, seconds."""
    heard = read_score(held.clip).beats
    strong = float(np.median([beat.strength for beat in heard])) if heard else 0.0
    return np.array([b.start for b in heard if b.strength >= strong])


# -- eyes ----------------------------------------------------------------------------------------


def gaze_and_blinks(held: Sequence[Spoken], made: Sequence[States]) -> Row:
    """Blinks a minute, their length, and the share of time with the eyes on the viewer."""
    truth = [h.states for h in held]
    return {
        "blinks_per_minute": _blinks(made)[0],
        "blinks_per_minute_truth": _blinks(truth)[0],
        "blink_ms": _blinks(made)[1],
        "blink_ms_truth": _blinks(truth)[1],
        "eye_contact": _mean([contact(states) for states in made]),
        "eye_contact_truth": _mean([contact(states) for states in truth]),
    }


def _blinks(clips: Sequence[States]) -> tuple[float, float]:
    """Blinks a minute, and the mean time in ms that lids stay more than half shut."""
    count, shut, frames = 0, 0, 0
    for states in clips:
        closed = states[:, INDEX["eyeBlinkLeft"]] > SHUT
        count += int(np.sum(closed[1:] & ~closed[:-1]))
        shut, frames = shut + int(closed.sum()), frames + len(states)
    return count * 60e3 / (frames * FRAME_MS), shut * FRAME_MS / max(count, 1)


def contact(states: States) -> float:
    """The share of frames in which eyes and head together look at the viewer."""
    yaw = states[:, [INDEX[n] for n in ("gaze_yaw", "head_yaw", "spine_yaw")]].sum(1)
    pitch = states[:, [INDEX[n] for n in ("gaze_pitch", "head_pitch", "spine_pitch")]].sum(1)
    return float((np.hypot(yaw, pitch) < CONTACT).mean())


# -- prompts -------------------------------------------------------------------------------------


def manner(states: States) -> NDArray[np.float64]:
    """What tells styles apart, as (10,) numbers of a performance."""
    torso, upper = states[:, SLICES["torso"]], states[:, SLICES["upper_face"]]
    named = {name: states[:, INDEX[name]] for name in _MANNER}
    return np.array(
        [
            np.log(gesture_energy(states) + 1e-3),
            np.log(np.square(np.diff(torso[:, :3], axis=0)).mean() + 1e-7),
            np.log(np.square(np.diff(upper[:, :5], axis=0)).mean() + 1e-7),
            contact(states),
            float(named["jawOpen"].std()),
            *(float(named[name].mean()) for name in _MANNER[1:]),
        ]
    )


_MANNER: Final = (
    "jawOpen", "mouthSmileLeft", "browDownLeft", "head_pitch", "spine_pitch", "eyeBlinkLeft",
)  # fmt: skip


def prompts(motion: Motion, held: Sequence[Spoken], clips: int = 6) -> Row:
    """How often the style of a prompt is recognised from the motion, each clip left out in turn.

    Chance is one in fourteen. The director's own performances of the same clips show what can
    be reached.
    """
    few, names = held[:clips], sorted(STYLES)
    made = np.array([[manner(_in_style(motion, h, name)) for name in names] for h in few])
    truth = np.array([[manner(_directed(h, name)) for name in names] for h in few])
    return {"prompts_told_apart": _recognised(made), "prompts_told_apart_truth": _recognised(truth)}


def _in_style(motion: Motion, held: Spoken, style: str) -> States:
    prompt = ", ".join(WORDS[style].adjectives[:2])
    return motion.perform(held.clip.audio, held.performer.reference(), prompt, seed=5)


def _directed(held: Spoken, style: str) -> States:
    return direct(held.clip, STYLES[style], held.performer, np.random.default_rng(5))


def _recognised(features: NDArray[np.float64]) -> float:
    """Share of (clips, styles, F) whose nearest style, by means of the other clips, is its own."""
    features = features - features.mean(1, keepdims=True)  # what the clip and its speaker add
    hits = []
    for clip in range(len(features)):
        others = np.delete(features, clip, axis=0)
        centres, spread = others.mean(0), others.std(0).mean(0) + 1e-6
        distance = np.square((features[clip][:, None] - centres[None]) / spread).sum(-1)
        hits += list(distance.argmin(1) == np.arange(features.shape[1]))
    return float(np.mean(hits))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
