"""Performances far beyond the 1024 latents at which published rotary tables end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.models.wan.config import AddedAudio
from pipeline.models.wan.generation.chunked import GenerationState
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.forward import answer
from pipeline.models.wan.generation.recipes import perform
from pipeline.models.wan.model_cards import Recipe, Schedule, card
from pipeline.models.wan.network.condition import Reference
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score

PROMPTS = Prompts(torch.ones(1, 5, 20), torch.zeros(1, 1, 20))
RECIPES = {
    "ring": Recipe("ring", block=4, window=12, sink=4),
    "overlap": Recipe("overlap", frames=37, overlap=5),
    "rolling": Recipe("rolling", block=4, window=11, sink=1),
    "memory": Recipe("memory", block=8, window=14, sink=2, newest=2, merge=5, frames=53),
}


def performing(kind: str, relative: bool = True) -> tuple[GenerationState, int]:
    """At one token a latent; with the channels of its speech."""
    if kind == "memory":
        run = score(small.dit("B", depth=2), "B", Schedule(2, 5.0, "euler", "float32"))
        clip, tokens = torch.randn(1, 16, 14, 2, 2), torch.randn(1, 257, 18)
    else:
        run = score(small.dit("A", depth=3, audio=AddedAudio(14, 8, 1)))
        clip = tokens = None
    still = run.reference.latent[..., :2, :2]
    own = replace(card("livetalk-1.3b"), recipe=RECIPES[kind])
    run = replace(run, reference=Reference(still, clip, tokens))
    return perform(run, PROMPTS, own, relative=relative), 12 if kind == "memory" else 14


def advanced(performance: GenerationState, channels: int, places: list[int]) -> torch.Tensor:
    """A turn's latents; adds the furthest place of every forward."""
    span = performance.span()
    torch.manual_seed(span.start)
    work = performance.turn(torch.randn(span.stop - span.start, channels))
    with torch.no_grad():
        try:
            ask = next(work)
            while True:
                places.append(max(ask.places))
                ask = work.send(answer(ask))
        except StopIteration as end:
            return end.value.latents  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", list(RECIPES))
def test_nothing_grows_and_no_position_ends(kind: str) -> None:
    performance, channels = performing(kind)
    places: list[int] = []
    chunks: list[torch.Tensor] = []
    while sum(chunk.shape[2] for chunk in chunks) < 1100:
        chunks.append(advanced(performance, channels, places))
    assert max(places) < 20, "every position lies within what one chunk sees"
    latents = torch.cat(chunks, dim=2)
    assert latents.isfinite().all()
    early, late = latents[:, :, 100:400].std(), latents[:, :, -300:].std()
    assert float(late) == pytest.approx(float(early), rel=0.2)


def test_published_positions_go_on_where_their_tables_end() -> None:
    performance, channels = performing("ring", relative=False)
    places: list[int] = []
    for _ in range(270):
        assert advanced(performance, channels, places).isfinite().all()
    assert places[-1] == 4 * 270 - 1 > 1024
