"""What the generator remembers of one speaker, and how new latents become part of it.

A ``GenerationState`` holds audio embeddings, clean latents, and the trace of the last speculative
chunk. Denoising only reads it; ``commit`` is the one place where it moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.diffusion.context import Timeline
from pipeline.diffusion.continuum import OverlapTrace
from pipeline.models.mini.config import ModelConfig


@dataclass(frozen=True, slots=True)
class NewLatents:
    """What one performance gets of a batch: clean ``latents`` (C, emit, 1, P) from ``start``, and
    the fields per noise level that it leaves behind for latents from ``left_from``."""

    start: int
    latents: Tensor
    left_from: int
    left: list[Tensor]


class GenerationState:
    """The generator's memory of one speaker. ``reference`` (R,), ``prompt`` (tokens, D), ``spread``
    (P,) of the noise of each part."""

    def __init__(
        self,
        config: ModelConfig,
        reference: Tensor,
        prompt: Tensor,
        seed: int,
        trace: OverlapTrace,
        spread: Sequence[float] = (1.0,),
    ) -> None:
        chunks = config.chunks
        longest = max(chunks.length * chunks.window, chunks.live_hop + chunks.live_tail)
        self.reference, self.prompt, self.seed, self.trace = reference, prompt, seed, trace
        self.spread = torch.tensor(spread)
        self.audio = Timeline(
            torch.zeros(1, config.audio.embed_dim), 0, 2 * longest + 2 * chunks.context
        )
        self.latents = Timeline(
            torch.zeros(config.vae.channels, 1, 1, 5), 1, max(chunks.context, 1)
        )

    @property
    def position(self) -> int:
        """Index of the next latent to be made."""
        return self.latents.end

    @torch.inference_mode()
    def commit(self, made: NewLatents) -> Tensor:
        """Remember what ``denoise`` made; returns its latents. Raises ``ValueError`` if they are
        not the next ones: what was committed is never committed again."""
        if made.start != self.position:
            raise ValueError(f"latents from {made.start} cannot follow {self.position}")
        self.latents.append(made.latents)
        self.trace.leave(made.left_from, made.left)
        return made.latents

    def interrupt(self) -> None:
        """Forget the speech of what was not made yet, and what was speculated of it."""
        self.audio.truncate(self.position)
        self.trace.clear()
