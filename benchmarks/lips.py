"""Figures of the mouth: with the truth, with another clip's, and on sounds that close it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.generate import Motion
from benchmarks.heldout import Spoken
from benchmarks.motion import LipSync, Series, lip_sync, mouth_opening
from pipeline.models.mini.config import SAMPLES_PER_FRAME

Row = dict[str, float]
BILABIALS: Final = "pbm"
_CLOSED: Final = 0.25  # of the clip's wide openings: a mouth that reads as shut
_WIDE: Final = 90.0  # percentile of a clip's openings


def perform(motion: Motion, held: Spoken, seed: int, schedule: str = "parallel") -> Series:
    """Mouth opening of a generated performance of a held-out clip, (frames,)."""
    return mouth_opening(states_of(motion, held, seed, schedule))


def states_of(
    motion: Motion, held: Spoken, seed: int, schedule: str = "parallel"
) -> NDArray[np.float32]:
    """Generated body states (frames, 88) of a held-out clip, prompted as the truth was."""
    reference = held.performer.reference()
    return motion.perform(held.clip.audio, reference, held.prompt, seed, schedule)


def lips(motion: Motion, held: Sequence[Spoken], schedule: str = "parallel") -> Row:
    """Lip sync with the truth, and with the truth of another clip as control."""
    truth = [mouth_opening(h.states) for h in held]
    made = [perform(motion, h, i, schedule) for i, h in enumerate(held)]
    own = [lip_sync(a, b) for a, b in zip(truth, made, strict=True)]
    control = [_control(truth[i], made[i - 1]) for i in range(len(held))]
    return {
        "lips_r": float(np.mean([s.r for s in own])),
        "lips_r_worst": min(s.r for s in own),
        "lips_lag_ms": float(np.median([s.lag_ms for s in own])),
        "lips_control_r": float(np.mean([s.r for s in control])),
        **closures(held, truth, made),
    }


def _control(truth: Series, other: Series) -> LipSync:
    size = min(len(truth), len(other))
    return lip_sync(truth[:size], other[:size])


def closures(held: Sequence[Spoken], truth: list[Series], made: list[Series]) -> Row:
    """The share of /p b m/ on which the mouth shuts, in the truth and as generated."""
    return {
        "bilabials_shut_truth": _shut(held, truth),
        "bilabials_shut": _shut(held, made),
    }


def _shut(held: Sequence[Spoken], openings: list[Series]) -> float:
    shut = [
        float(opening[max(0, at - 1) : at + 2].min() < _CLOSED * np.percentile(opening, _WIDE))
        for h, opening in zip(held, openings, strict=True)
        for at in _bilabials(h, len(opening))
    ]
    return float(np.mean(shut))


def _bilabials(held: Spoken, frames: int) -> list[int]:
    """The frames at whose middle the lips of a bilabial meet."""
    middles = [
        (phone.start + phone.end) // 2 // SAMPLES_PER_FRAME
        for phone in held.clip.phones
        if phone.ipa[:1] and phone.ipa[:1] in BILABIALS
    ]
    return [at for at in middles if at < frames]
