"""Voices and bodies that training never met: what the quality figures are measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.director.director import direct
from training.director.performer import Performer
from training.director.styles import STYLES, Style, prompt
from training.voices.clips import Clip
from training.voices.generate import make_clip


@dataclass(frozen=True, slots=True)
class Spoken:
    """A held-out clip with the performance that the director gave it."""

    clip: Clip
    performer: Performer
    prompt: str
    states: NDArray[np.float32]  # (frames, 88)


def performances(count: int, seed: int, style: Style | None = None) -> Iterator[Spoken]:
    """``count`` spoken clips of held-out voices, languages and sentences, silence left out."""
    made, number = 0, 0
    while made < count:
        rng = np.random.default_rng([seed, number])
        number += 1
        clip = make_clip(rng, heldout=True)
        if clip.delivery in ("silence", "noise"):
            continue
        chosen = style or STYLES[str(rng.choice(sorted(STYLES)))]
        performer = Performer.random(rng)
        states = direct(clip, chosen, performer, rng)
        yield Spoken(clip, performer, prompt(chosen, rng), states)
        made += 1
