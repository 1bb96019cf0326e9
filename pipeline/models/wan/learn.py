"""What a checkpoint can leave out, learned from samples: thresholds of the CFG cache, a table of
attention reuse, scales of int8; as the text of its ``acceleration.toml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from pipeline.attention.cache import Reuse, propose
from pipeline.guidance import Trial, change, learn_thresholds
from pipeline.models.wan.ask import Turn
from pipeline.models.wan.cards import Schedule
from pipeline.models.wan.denoise import Branches, denoise
from pipeline.models.wan.dit import Modulation, WanDiT
from pipeline.models.wan.field import Field, Pace
from pipeline.quantize import Quantization, calibrate


@dataclass(frozen=True, slots=True)
class Sample:
    """A chunk of real speech that can be denoised again and again: what its branches are told,
    what stands beside the latents, its noise by draw."""

    dit: WanDiT
    schedule: Schedule
    lot: Branches
    side: Tensor
    mods: list[Modulation]
    noise: tuple[Tensor, ...]

    @torch.no_grad()
    def clean(self, pace: Pace) -> Tensor:
        """Its clean latents when it is run in a certain way."""
        field = Field(self.dit, self.lot, self.side, self.mods, pace)
        return denoise(field, self.schedule, self.noise.__getitem__)

    @torch.no_grad()
    def trials(self) -> list[Trial]:
        """A full run; at every step but the first, what reusing the last branches had cost."""
        field = _Noting(self.dit, self.lot, self.side, self.mods, Pace())
        denoise(field, self.schedule, self.noise.__getitem__)
        return field.trials


class _Noting(Field):
    """Runs all branches and compares each step with a reuse of the step before."""

    trials: list[Trial]
    _last: list[Tensor]

    def _fields(self, joined: Tensor, step: int) -> Turn[list[Tensor]]:
        fields = yield from super()._fields(joined, step)
        if step == 0:
            self.trials = []
        else:
            first, before = fields[0], self._last
            reused = [first, *(first + other - before[0] for other in before[1:])]
            error = change(self._lot.mix(reused), self._lot.mix(fields))
            self.trials.append(Trial(change(first, before[0]), error))
        self._last = fields
        return fields


@dataclass(frozen=True, slots=True)
class Learned:
    """What may be left out; empty where nothing may, or where there is nothing to leave out."""

    thresholds: tuple[float, ...]
    reuse: Reuse
    scales: dict[str, float]

    def toml(self) -> str:
        """For ``acceleration.toml`` in the checkpoint's folder."""
        text = ""
        if self.thresholds:
            text += f"[guidance]\nthresholds = {list(self.thresholds)}\n\n"
        if self.reuse.reused:
            words = ", ".join(f'"{word}"' for word in self.reuse.steps)
            text += f"[reuse]\nsteps = [{words}]\n\n"
        if self.scales:
            lines = "".join(f'"{name}" = {value:.6g}\n' for name, value in self.scales.items())
            text += f"[linears.scales]\n{lines}"
        return text


def learn(samples: Sequence[Sample], saved: float, budget: float, scales: bool = False) -> Learned:
    """Thresholds that save the share ``saved`` of all unconditional passes at the least error, and
    the table with most reuse whose mean relative error of clean latents stays within ``budget``;
    ``scales`` of int8-static too, for all layers that run every step: keep ``*.cross_attn.k`` and
    ``*.cross_attn.v``, which run once a chunk, as they are."""
    first = samples[0]
    exact = [sample.clean(Pace()) for sample in samples]

    def error(table: Reuse) -> float:
        pace = Pace(reuse=table)
        return fmean(change(s.clean(pace), e) for s, e in zip(samples, exact, strict=True))

    steps, blocks = first.schedule.steps, first.dit.config.depth
    guided = len(first.lot.told) > 1
    everything = Quantization("int8-dynamic")
    return Learned(
        learn_thresholds([s.trials() for s in samples], saved) if guided else (),
        propose(error, steps, blocks, budget),
        calibrate(first.dit, everything, lambda: [s.clean(Pace()) for s in samples])
        if scales else {},
    )  # fmt: skip
