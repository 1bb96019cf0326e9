"""Which chunks one round of denoising makes: two of a live stream, a window of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.diffusion.chunks import Chunk, plan
from pipeline.models.mini.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round of denoising does for one speaker."""

    chunks: Sequence[Chunk]
    emit: int  # latents that become final
    leave_from: int  # absolute index: the last chunk's fields from here are left as a trace


def causal_plan(config: ModelConfig, position: int) -> Plan:
    """The chunk about to be shown and its speculative successor."""
    hop, tail = config.chunks.live_hop, config.chunks.live_tail
    shown = Chunk(position, hop + tail, 0, tail)
    successor = Chunk(position + hop, hop + tail, tail, 0)
    return Plan([shown, successor] if tail else [shown], hop, position + hop)


def parallel_plan(config: ModelConfig, position: int, remaining: int | None) -> Plan:
    """A window of overlapping chunks; ``remaining`` latents to the end of speech, if known."""
    length, overlap, window = config.chunks.length, config.chunks.overlap, config.chunks.window
    full = window * (length - overlap) + overlap
    if remaining is not None and remaining <= full:
        return Plan(plan(position, remaining, length, overlap), remaining, position + remaining)
    emit = full - overlap
    return Plan(plan(position, full, length, overlap), emit, position + emit)
