"""A rolling window: its latents carry rising noise, and each turn one clean block leaves it.

As AvatarForcing runs. A window holds as many blocks as the schedule has levels, the oldest at the
lowest, the newest at pure noise. One forward over all of them, each latent at its own level, takes
every block one level down. The clean block leaves, passes through the transformer once more at
level 0 so that a ring keeps its keys, and a new block enters. So speech is needed as far ahead as
the window reaches, and a block costs one forward instead of one per level.

Latent 0 is the reference, and the ring's sink. The ring's past is directly before the latents being
denoised. In the published program that holds while denoising, but when a clean block is kept the
sink is at its initial position, which is why that program ends at 1024 latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.diffusion.sampling import renoise
from pipeline.models.wan.generation.chunked import (
    GenerationSetup,
    GenerationState,
    NewLatents,
    Span,
)
from pipeline.models.wan.generation.denoise import Branches, Prompts, guided_branches, timestep
from pipeline.models.wan.generation.forward import Generation
from pipeline.models.wan.generation.guided_velocity import GuidedVelocity, LatentPositions
from pipeline.models.wan.network.audio_conditioning import group_frames
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.condition import beside, frames_of
from pipeline.models.wan.network.dit import Modulation
from pipeline.models.wan.network.kv_ring import KvRing


class RollingPerformance(GenerationState):
    """Windows of ``block`` latents a level, over a past of ``window`` latents less their own."""

    def __init__(
        self, score: GenerationSetup, prompts: Prompts, block: int, window: int, sink: int = 1
    ) -> None:
        self.prompts = prompts
        self._score, self._block = score, block
        self._levels = score.schedule.levels[:-1]
        own = block * len(self._levels)
        if score.dit.config.layout != "A" or score.schedule.sampler != "renoise":
            raise ValueError(f"a rolling window is for layout A and re-noising, not layout "
                             f"{score.dit.config.layout} and {score.schedule.sampler}")  # fmt: skip
        if own + sink > window:
            raise ValueError(f"{len(self._levels)} blocks of {block} do not fit into {window} "
                             f"beside a sink of {sink}")  # fmt: skip
        score.pace.check(1, score.dit.config.depth)  # a window is one forward
        self._ring = KvRing(window - own + block, sink)
        self._window, self._start = window, 0
        self._noisy: list[Tensor] = []  # the blocks in flight, oldest first
        self._mods = list(self._modulations())

    @torch.no_grad()
    def _modulations(self) -> Iterator[Modulation]:
        """Of 0 blocks (one clean latent) and of windows of 1, 2, ... blocks."""
        score = self._score
        for count in range(len(self._levels) + 1):
            levels = [0.0] if count == 0 else [*reversed(self._levels[:count])]
            t = [timestep(level, score.schedule, score.reference.latent, (1, 1))
                 for level in levels for _ in range(self._block if count else 1)]  # fmt: skip
            yield score.dit.modulation(torch.cat(t, dim=1))

    @property
    def hop(self) -> int:
        """Frames by which each span after the first goes further."""
        return 4 * self._block

    @property
    def ahead(self) -> int:
        """Frames that are heard beyond those that a turn gives."""
        return 4 * self._block * (len(self._levels) - 1)

    def span(self) -> Span:
        """The frames of the next window, and at first of the reference."""
        end = max(self._start, 1) + self._block * len(self._levels)
        return Span(frames_of(self._start), frames_of(end))

    def turn(self, features: Tensor) -> Generation[NewLatents]:
        """Speech features (frames of the span, C) -> the clean latents of the oldest block. A turn
        that is given up, because something failed, can be taken again."""
        score, opening = self._score, self._start == 0
        audio = group_frames(features[None].to(score.device), opening)
        branches = guided_branches(
            score.dit, score.guidance, self.prompts, score.reference.tokens, audio
        )
        if len(branches.conditions) != 1:
            raise ValueError("a ring keeps one branch: guidance must be 1 for text and audio")
        conditions, start = branches.conditions[0], max(self._start, 1)
        if opening:
            if not self._ring.times:
                yield self._field(part(conditions, 0, 1), 0, 0).remember(score.reference.latent)
            conditions = part(conditions, 1, audio.shape[1])
        while len(down := (yield from self._down(conditions, start))) < len(self._levels):
            self._noisy = [self._noised(x0, start, k, len(down)) for k, x0 in enumerate(down)]
        clean = down[0]
        yield self._field(part(conditions, 0, self._block), start, 0).remember(clean)
        self._noisy = [self._noised(x0, start, k, len(down)) for k, x0 in enumerate(down) if k]
        self._start = start + self._block
        return NewLatents(torch.cat([score.reference.latent, clean], dim=2) if opening else clean)

    def _down(self, conditions: list[BlockCondition], start: int) -> Generation[tuple[Tensor, ...]]:
        """The clean latents to which each block points, and a new one that joins the window."""
        score, size, count = self._score, self._block, len(self._noisy) + 1
        new = score.noise(start + (count - 1) * size, size, 0)
        x = torch.cat([*self._noisy, new], dim=2)
        field = self._field(part(conditions, 0, count * size), start, count)
        velocity = yield from field.asking(x, 0)
        levels = [*reversed(self._levels[:count])]
        sigma = x.new_tensor(levels).repeat_interleave(size).view(1, 1, -1, 1, 1)
        return tuple((x - sigma * velocity).split(size, dim=2))

    def _noised(self, x0: Tensor, start: int, place: int, count: int) -> Tensor:
        """A block of a window of ``count``, one level further down."""
        size, level = self._block, count - place
        fresh = self._score.noise(start + place * size, size, level)
        return renoise(x0, fresh, self._levels[level])

    def _field(self, conditions: list[BlockCondition], start: int, blocks: int) -> GuidedVelocity:
        """Of a window of ``blocks``, or (0) of clean latents that the ring shall keep."""
        score = self._score
        count = blocks * self._block or (self._block if start else 1)
        given = torch.arange(start, start + count, device=score.device) == 0
        side = beside(score.dit.config, score.reference, given)
        ring = replace(self._ring, window=self._window) if blocks else self._ring
        return GuidedVelocity(
            score.dit,
            Branches([conditions], (1.0,)),
            side,
            [self._mods[blocks]],
            score.pace,
            LatentPositions(start, ring),
        )


def part(conditions: list[BlockCondition], start: int, stop: int) -> list[BlockCondition]:
    """What latents [start, stop) of a chunk are told."""
    return [
        hint if hint.added is None else replace(hint, added=hint.added[:, start:stop])
        for hint in conditions
    ]
