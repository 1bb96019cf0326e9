"""How a checkpoint is run, where there is a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.errors import ModelMismatch
from pipeline.models.wan.model_cards import Card, all_cards
from pipeline.models.wan.network.speakers import PERSONS, Box, written

CARRIES: Final = ("latents", "frames")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``carry``: the latents that one chunk gives the next, as they are, or as published from its
    frames, encoded again. ``positions``: of a ring, "relative" (without an end) or "absolute" (as
    published, to 1024 latents). ``window``: chunks denoised together when rendering a file.
    ``negative``: the prompt that guidance leads away from, "continuum" or the authors' "published".
    ``boxes``: of two people who speak, where each is; the picture of one person needs none.
    """

    carry: str = "latents"
    positions: str = "relative"
    window: int = 1
    force: bool = False
    negative: str = "continuum"
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.carry not in CARRIES:
            raise ValueError(f"carry must be one of {CARRIES}, not {self.carry!r}")
        if self.positions not in ("relative", "absolute"):
            raise ValueError(f"positions must be relative or absolute, not {self.positions!r}")
        if self.negative not in ("continuum", "published"):
            raise ValueError(f"negative must be continuum or published, not {self.negative!r}")
        if self.boxes and (len(self.boxes) != PERSONS or not all(map(_inside, self.boxes))):
            raise ValueError(f"two boxes within the picture are needed, left:top:right:bottom as "
                             f"shares of it, not {' '.join(map(written, self.boxes))}")  # fmt: skip
        if self.carry == "frames" and self.window != 1:
            raise ValueError(f"chunks that carry frames follow one another: window "
                             f"{self.window} must be 1")  # fmt: skip


def _inside(box: Box) -> bool:
    left, top, right, bottom = box
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def manner_of(
    recipe: str, window: int = 1, force: bool = False, boxes: tuple[Box, ...] = ()
) -> RunOptions:
    """By name: "continuum" is ours, "published" the authors' own way where it is another."""
    if recipe not in ("continuum", "published"):
        raise ModelMismatch(f"recipe must be continuum or published, not {recipe!r}")
    try:
        if recipe == "published":
            return RunOptions("frames", "absolute", window, force, "published", boxes)
        return RunOptions(window=window, force=force, boxes=boxes)
    except ValueError as error:
        raise ModelMismatch(str(error)) from error


def check_manner(chosen: Card, manner: RunOptions, tiny: bool) -> None:
    """Refuse what the checkpoint, or the decoder, does not permit; before anything is loaded."""
    chunked = chosen.recipe.chunked
    if len(manner.boxes) > chosen.speakers:
        raise ModelMismatch(f"{chosen.title} was trained for one speaker: {' and '.join(of_two())} "
                            "take two")  # fmt: skip
    if manner.window > 1 and not chunked:
        raise ModelMismatch(f"{chosen.title} goes on block by block: {manner.window} chunks cannot "
                            "be harmonised, window must be 1")  # fmt: skip
    if manner.carry == "frames" and chunked and tiny:
        raise ModelMismatch("its published recipe encodes decoded frames again, which asks for the "
                            "full decoder")  # fmt: skip


def of_two() -> list[str]:
    """Titles of the published checkpoints that were trained for two speakers."""
    return [card.title for card in all_cards() if card.speakers == PERSONS]
