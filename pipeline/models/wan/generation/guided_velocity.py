"""The guided field of one chunk, step after step: every branch, and what need not be computed.

``AccelerationPlan`` is what a user switched on; ``GuidedVelocity`` holds what one chunk remembers
for it: the rotary table, joined conditions, what guidance and attention gave at the steps before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attention.cache import AttentionCache, Reuse
from pipeline.attention.exact import Attend, attend
from pipeline.diffusion.guidance import CfgCache
from pipeline.models.wan.generation.denoise import (
    Agree,
    Branches,
    Known,
    Noise,
    answered,
    denoising,
)
from pipeline.models.wan.generation.forward import ForwardRequest, Generation, answer, join
from pipeline.models.wan.model_cards import Schedule
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.cuda_graphs import Graphs
from pipeline.models.wan.network.dit import Modulation, Shortcut, WanDiT
from pipeline.models.wan.network.kv_ring import Memory

BranchObserver = Callable[[int, list[Tensor], Branches], None]


@dataclass(frozen=True, slots=True)
class AccelerationPlan:
    """How a field may save work; the default computes everything, one branch after another.

    ``attends`` of self-attention, one for all steps or one a step. ``batched``: all branches as one
    batch. ``thresholds`` of the CFG cache, one a step. ``reuse`` of attention by block and step.
    ``graphs`` replay small forwards that neither reuse attention nor read a ring. ``note`` is told
    every branch's field at every step, to learn from.
    """

    attends: tuple[Attend, ...] = (attend,)
    batched: bool = False
    thresholds: tuple[float, ...] = ()
    reuse: Reuse | None = None
    graphs: Graphs | None = None
    note: BranchObserver | None = None

    def __post_init__(self) -> None:
        if not self.attends:
            raise ValueError("attends must name at least one attention")
        if self.batched and self.thresholds and self.reuse:
            raise ValueError("attention is kept for a batch of branches or for each: with a CFG "
                             "cache, which leaves branches out, batched must be off")  # fmt: skip

    def check(self, steps: int, blocks: int) -> None:
        """Refuse tables that are made for another schedule or another depth."""
        for name, found, wanted in (
            ("attends", len(self.attends), (1, steps)),
            ("thresholds", len(self.thresholds), (0, steps)),
            ("reuse", len(self.reuse.steps) if self.reuse else steps, (steps,)),
        ):
            if found not in wanted:
                raise ValueError(f"{name} are given for {found} steps, the schedule has {steps}")
        if self.reuse and self.reuse.blocks != blocks:
            raise ValueError(f"reuse names {self.reuse.blocks} blocks, the model has {blocks}")


@dataclass(frozen=True, slots=True)
class LatentPositions:
    """Where a chunk's latents are numbered from, and the ring that keeps what was before."""

    start: int = 0
    ring: Memory | None = None

    def latents(self, count: int) -> tuple[int, ...]:
        """The rotary places of ``count`` new latents, behind those of the past."""
        if self.ring is None:
            return tuple(range(self.start, self.start + count))
        return tuple(self.ring.places(self.start, count).tolist())


class GuidedVelocity:
    """The velocity of one batch of chunks under its branches, as questions for ``answer``.

    ``side`` (K, C, T, h, w) stands beside the noisy latents; ``mods`` has one entry a step.
    """

    def __init__(
        self,
        dit: WanDiT,
        branches: Branches,
        side: Tensor,
        mods: list[Modulation],
        pace: AccelerationPlan,
        place: LatentPositions | None = None,
    ) -> None:
        if pace.reuse and branches.conditions[0][0].areas is not None:
            raise ValueError("two people are told apart by attention that is computed, not reused")
        self._dit, self._branches, self._side = dit, branches, side
        self._mods, self._pace = mods, pace
        self._place = place or LatentPositions()
        self._table = dit.table(side.shape, self._place.start, self._place.ring)
        self._latents = self._place.latents(side.shape[2])
        count = len(branches.conditions)
        self._together = join(branches.conditions) if pace.batched and count > 1 else None
        self._cfg = CfgCache(pace.thresholds) if pace.thresholds and count > 1 else None
        caches = 1 if self._together else count
        self._kept = [AttentionCache(pace.reuse) if pace.reuse else None for _ in range(caches)]

    @property
    def hits(self) -> dict[str, int]:
        """What was not computed so far, by cache."""
        attention = sum(cache.hits for cache in self._kept if cache)
        return {"guidance": self._cfg.reused if self._cfg else 0, "attention": attention}

    def __call__(self, x: Tensor, step: int) -> Tensor:
        """x (K, 16, T, h, w) -> the guided velocity, float32; every forward on its own."""
        return answered(self.asking(x, step), answer)

    def asking(self, x: Tensor, step: int) -> Generation[Tensor]:
        """The same, asking for forwards."""
        fields = yield from self._fields(torch.cat([x, self._side], dim=1), step)
        return self._branches.mix(fields)

    def clean(
        self,
        schedule: Schedule,
        noise: Noise,
        known: Known | None = None,
        agree: Agree = lambda x0: x0,
    ) -> Generation[Tensor]:
        """Clean latents as ``denoise`` gives them, asking for forwards."""
        steps = denoising(schedule, noise, known, agree)
        try:
            asked = next(steps)
            while True:
                asked = steps.send((yield from self.asking(*asked)))
        except StopIteration as end:
            result: Tensor = end.value
            return result

    def remember(self, clean: Tensor) -> ForwardRequest:
        """One more pass, at level 0, whose keys and values the ring keeps."""
        joined = torch.cat([clean, self._side], dim=1)
        return self._ask(
            joined, self._mods[-1], self._branches.conditions[0], Shortcut(), keep=True
        )

    def _fields(self, joined: Tensor, step: int) -> Generation[list[Tensor]]:
        decided = self._cfg.decided(step) if self._cfg else False
        if decided is False:
            fields = yield from self._all(joined, step)
        else:
            first = yield self._one(joined, step, 0)
            if self._cfg and (decided or self._cfg.unchanged(step, first)):
                return [first, *self._cfg.reuse(first)]
            fields = [first, *(yield from self._others(joined, step))]
        if self._cfg:
            self._cfg.keep(fields[0], fields[1:])
        if self._pace.note:
            self._pace.note(step, fields, self._branches)
        return fields

    def _all(self, joined: Tensor, step: int) -> Generation[list[Tensor]]:
        if self._together is None:
            first = yield self._one(joined, step, 0)
            return [first, *(yield from self._others(joined, step))]
        count = len(self._branches.conditions)
        wide = joined.repeat(count, 1, 1, 1, 1)
        field = yield self._step(wide, step, self._together, self._kept[0])
        return list(field.chunk(count))

    def _others(self, joined: Tensor, step: int) -> Generation[list[Tensor]]:
        fields = []
        for branch in range(1, len(self._branches.conditions)):
            fields.append((yield self._one(joined, step, branch)))
        return fields

    def _one(self, joined: Tensor, step: int, branch: int) -> ForwardRequest:
        kept = None if self._together else self._kept[branch]
        return self._step(joined, step, self._branches.conditions[branch], kept)

    def _step(
        self, x: Tensor, step: int, conditions: list[BlockCondition], kept: AttentionCache | None
    ) -> ForwardRequest:
        attends = self._pace.attends
        short = Shortcut(attends[step if len(attends) > 1 else 0], kept, step)
        return self._ask(x, self._mods[step], conditions, short)

    def _ask(
        self,
        x: Tensor,
        mod: Modulation,
        conditions: list[BlockCondition],
        short: Shortcut,
        keep: bool = False,
    ) -> ForwardRequest:
        place = self._place
        return ForwardRequest(
            self._dit,
            x,
            mod,
            conditions,
            self._table,
            self._latents,
            short,
            place.start,
            place.ring,
            keep,
            self._pace.graphs,
        )
