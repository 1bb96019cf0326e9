"""The transformer under classifier-free guidance: latents and a noise level in, a velocity out.

With guidance, a step has two passes: one with the prompt and the speech, one with neither. They
are one batch, unless the CFG cache may spare the second (``acceleration.cfg_cache``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.diffusion.guidance import CfgCache, guide
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.dit import Condition


class Transformer(Protocol):
    """What denoising asks of a transformer, whatever runs it. ``condition`` is encoded once a
    chunk into something of its own; ``velocity`` takes the noise level as a number, and in the
    blocks of ``reuse`` what attention gave at the last step that computed it."""

    parts: int

    def condition(self, c: Condition) -> Any: ...

    def velocity(
        self, x: Tensor, level: float, cache: Any, reuse: Collection[int] = ()
    ) -> Tensor: ...


class GuidedVelocity:
    """The velocity field that a schedule follows.

    ``forwards`` counts passes over noisy tokens, ``reused`` the unconditional ones that the CFG
    cache spared.
    """

    def __init__(self, dit: Transformer, config: ModelConfig, null_prompt: Tensor) -> None:
        self.config, self.parts = config, dit.parts
        self.levels = config.schedule.levels
        self._dit, self._null_prompt = dit, null_prompt
        self._reuse = config.acceleration.reused_blocks(config.schedule.steps)
        self._thresholds = config.acceleration.cfg_cache or (0.0,) * config.schedule.steps
        self._guided = config.guidance.scale != 1.0
        self._together = self._guided and not any(self._thresholds)
        self.forwards = self.reused = 0

    def cache(self) -> CfgCache:
        """What one round of denoising remembers of its steps."""
        return CfgCache(self._thresholds)

    def encode(self, condition: Condition) -> list[Any]:
        """The condition as the transformer keeps it: one for each pass of a step."""
        branches = [condition]
        if self._guided:
            branches.append(self._unconditional(condition))
        if self._together:
            parts = [[getattr(c, f.name) for c in branches] for f in fields(Condition)]
            branches = [Condition(*map(torch.cat, parts))]
        return [self._dit.condition(branch) for branch in branches]

    def at(self, x: Tensor, step: int, caches: list[Any], branches: CfgCache) -> Tensor:
        """The velocity (B, C, T, 1, P) at ``x`` and noise level ``step``; ``caches`` are what
        ``encode`` gave."""
        guidance = self.config.guidance
        if not self._guided:
            return self._forward(x, step, caches[0])
        if self._together:
            conditional, unconditional = self.branches(x, step, caches)
            return guide(conditional, unconditional, guidance.scale, guidance.rescale)
        conditional = self._forward(x, step, caches[0])
        settled = branches.decided(step)
        if settled or (settled is None and branches.unchanged(step, conditional)):
            self.reused += 1
            (unconditional,) = branches.reuse(conditional)
        else:
            unconditional = self._forward(x, step, caches[1])
            branches.keep(conditional, [unconditional])
        return guide(conditional, unconditional, guidance.scale, guidance.rescale)

    def branches(self, x: Tensor, step: int, caches: list[Any]) -> list[Tensor]:
        """The velocity of every branch, none of them reused."""
        if self._together:
            return list(self._forward(torch.cat([x, x]), step, caches[0]).chunk(2))
        return [self._forward(x, step, cache) for cache in caches]

    def _unconditional(self, c: Condition) -> Condition:
        return Condition(
            c.reference, self._null_prompt.expand_as(c.prompt), c.context, c.context_valid,
            c.audio, torch.zeros_like(c.audio_known),
        )  # fmt: skip

    def _forward(self, x: Tensor, step: int, cache: Any) -> Tensor:
        self.forwards += 1
        return self._dit.velocity(x, self.levels[step], cache, self._reuse[step])
