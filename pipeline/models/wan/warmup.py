"""Runs a model once in every shape that will be accepted, on silence, before the first call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import torch

from pipeline.models.wan.generation.batching import together
from pipeline.models.wan.generation.chunked import GenerationSetup, GenerationState, NewLatents
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.forward import Generation
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.generation.recipes import perform
from pipeline.models.wan.model_cards import Card
from pipeline.models.wan.network.condition import Reference, latents_of
from pipeline.models.wan.network.dit import WanDiT
from pipeline.streaming.isolation import Failed

MOST: Final = 64  # chunks after which every shape must have come


def warm_up(
    dit: WanDiT,
    card: Card,
    pace: AccelerationPlan,
    size: tuple[int, int],
    window: int = 1,
    streams: int = 1,
) -> int:
    """Advance streams of silence at ``size`` (width, height) until every shape has been seen:
    the first chunk, the next ones, a ring while it fills; live ones, as many as are one batch at
    most, and one of ``window`` chunks. Returns the chunks that took."""
    if dit.config.audio is None:
        raise ValueError("a base model hears nothing and performs nothing")
    counts = [1 << k for k in range(streams.bit_length())]
    casts = [(count, 1) for count in counts] + ([(1, window)] if window > 1 else [])
    chunks = 0
    for count, wide in casts:
        cast = [_nobody(dit, card, pace, size, wide) for _ in range(count)]
        chunks += _until_all_is_seen(cast, dit.config.audio.channels)
    return chunks


def _nobody(
    dit: WanDiT, card: Card, pace: AccelerationPlan, size: tuple[int, int], window: int
) -> GenerationState:
    config, recipe = dit.config, card.recipe
    like = dit.patch_embedding.weight.new_zeros((), dtype=torch.float32)
    latent = like.new_zeros(1, config.latent_channels, 1, size[1] // 8, size[0] // 8)
    reference = Reference(latent)
    if config.layout == "B":
        clip = latent.expand(-1, -1, latents_of(recipe.frames), -1, -1).clone()
        reference = Reference(latent, clip, like.new_zeros(1, 257, config.image_dim or 0))
    words = like.new_zeros(1, 1, config.text_dim)
    score = GenerationSetup(dit, card.schedule, card.guidance, reference, seed=0, pace=pace)
    return perform(score, Prompts(words, words), card, window)


def _until_all_is_seen(cast: Sequence[GenerationState], channels: int) -> int:
    """Advance all of them together until a chunk asks for nothing new."""
    seen: set[Hashable] = set()
    for chunk in range(1, MOST + 1):
        known = len(seen)
        spans = [run.span() for run in cast]
        silence = [torch.zeros(span.stop - span.start, channels) for span in spans]
        turns = [run.turn(still) for run, still in zip(cast, silence, strict=True)]
        for made in together([_noted(turn, seen) for turn in turns], len(cast)):
            if isinstance(made, Failed):  # a shape that does not run must not wait for a stream
                raise made.error
        if len(seen) == known:
            return chunk
    raise ValueError(f"after {MOST} chunks there are still new shapes")


def _noted(turn: Generation[NewLatents], seen: set[Hashable]) -> Generation[NewLatents]:
    """The same turn; the shapes that it asks for are noted."""
    try:
        ask = next(turn)
        while True:
            seen.add((ask.x.shape, len(ask.places), ask.keep, ask.conditions[0].deaf))
            ask = turn.send((yield ask))
    except StopIteration as end:
        fresh: NewLatents = end.value
        return fresh
