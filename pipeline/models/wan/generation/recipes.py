"""The performance that a checkpoint's recipe asks for."""

from __future__ import annotations

from pipeline.errors import ModelMismatch
from pipeline.models.wan.generation.chunked import (
    ChunkPerformance,
    GenerationSetup,
    GenerationState,
    Recode,
    RingPerformance,
)
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.generation.merged_past import MergedPerformance
from pipeline.models.wan.generation.rolling_window import RollingPerformance
from pipeline.models.wan.model_cards import Card
from pipeline.models.wan.network.condition import latents_of
from pipeline.models.wan.network.kv_ring import KvRing


def check_pace(card: Card, pace: AccelerationPlan, blocks: int) -> None:
    """Refuse, with ``ModelMismatch``, tables of accelerations that its recipe cannot follow."""
    try:
        pace.check(1 if card.recipe.kind == "rolling" else card.schedule.steps, blocks)
    except ValueError as error:
        raise ModelMismatch(
            f"{card.title}, whose recipe is {card.recipe.kind!r}: {error}"
        ) from error
    if card.recipe.kind == "memory" and pace.reuse:
        raise ModelMismatch(f"{card.title} keeps keys at every step: attention is never reused")


def perform(
    score: GenerationSetup,
    prompts: Prompts,
    card: Card,
    window: int = 1,
    relative: bool = True,
    recode: Recode | None = None,
    speech_ahead: bool = False,
) -> GenerationState:
    """``relative`` is for a ring, the rest for bidirectional checkpoints; ``speech_ahead`` tells
    that what is said after a chunk is known before it is made."""
    recipe = card.recipe
    if recipe.kind == "ring":
        ring = KvRing(recipe.window, recipe.sink, relative)
        return RingPerformance(score, prompts, recipe.block, ring)
    if recipe.kind == "rolling":
        return RollingPerformance(score, prompts, recipe.block, recipe.window, recipe.sink)
    if recipe.kind == "memory":
        return MergedPerformance(score, prompts, recipe)
    height, width = score.reference.latent.shape[3:]
    length = latents_of(recipe.frames_at(8 * width, 8 * height))
    return ChunkPerformance(score, prompts, length, latents_of(recipe.overlap), window, recode,
                            video=recipe.kind == "video", speech_ahead=speech_ahead)  # fmt: skip
