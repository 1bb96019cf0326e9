"""Running a model before anybody waits: every shape that will be accepted, once, on silence."""

from __future__ import annotations

import torch

from pipeline.models.wan.cards import Card
from pipeline.models.wan.condition import Reference, latents_of
from pipeline.models.wan.denoise import Prompts
from pipeline.models.wan.dit import WanDiT
from pipeline.models.wan.field import Pace
from pipeline.models.wan.performance import Score
from pipeline.models.wan.recipes import perform


def warm_up(dit: WanDiT, card: Card, pace: Pace, size: tuple[int, int], window: int = 1) -> int:
    """Advance a performance of nobody at ``size`` (width, height) until every shape has been seen:
    the first chunk, the next ones, a ring while it fills. Returns the chunks that took."""
    config, recipe = dit.config, card.recipe
    if config.audio is None:
        raise ValueError("a base model hears nothing and performs nothing")
    like = dit.patch_embedding.weight.new_zeros((), dtype=torch.float32)
    height, width = size[1] // 8, size[0] // 8
    latent = like.new_zeros(1, config.latent_channels, 1, height, width)
    reference = Reference(latent)
    if config.layout == "B":
        clip = latent.expand(-1, -1, latents_of(recipe.frames), -1, -1).clone()
        reference = Reference(latent, clip, like.new_zeros(1, 257, config.image_dim or 0))
    words = like.new_zeros(1, 1, config.text_dim)
    score = Score(dit, card.schedule, card.guidance, reference, seed=0, pace=pace)
    performance = perform(score, Prompts(words, words), card, window)
    chunks = -(-recipe.window // recipe.block) + 1 if recipe.kind == "ring" else 2
    chunks += recipe.kind in ("rolling", "memory")
    for _ in range(chunks):
        span = performance.span()
        performance.advance(like.new_zeros(span.stop - span.start, config.audio.channels))
    return chunks
