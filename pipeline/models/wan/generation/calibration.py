"""What a checkpoint can leave out, learned from samples: thresholds of the CFG cache, a table of
attention reuse, scales of int8; as the text of its ``acceleration.toml``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

import torch
from torch import Tensor

from pipeline.acceleration.quantize import Quantization, calibrate
from pipeline.attention.cache import Reuse, propose
from pipeline.diffusion.guidance import Trial, change, learn_thresholds
from pipeline.models.wan.generation.chunked import GenerationState
from pipeline.models.wan.generation.denoise import Branches
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.dit import WanDiT

ONCE: Final = ("*.cross_attn.k", "*.cross_attn.v")  # of the text: run once a chunk, not once a step


@dataclass(frozen=True, slots=True)
class Sample:
    """Chunks of real speech that can be performed again and again: ``start`` begins anew, ``heard``
    are the speech features of each chunk's span. ``steps`` of the schedule, ``guided`` by more
    branches than one; attention of a recipe that is not ``reusable`` always runs."""

    dit: WanDiT
    steps: int
    guided: bool
    reusable: bool
    start: Callable[[AccelerationPlan], GenerationState]
    heard: tuple[Tensor, ...]

    def clean(self, pace: AccelerationPlan) -> Tensor:
        """The clean latents when it is run in a certain way, (1, 16, T, h, w)."""
        run = self.start(pace)
        return torch.cat([run.advance(features).latents for features in self.heard], dim=2)

    def trials(self) -> list[list[Trial]]:
        """A full run; of every chunk, at every step but the first, what reusing the last branches
        had cost."""
        notes = _Notes()
        self.clean(AccelerationPlan(note=notes.take))
        return notes.chunks


@dataclass(slots=True)
class _Notes:
    """Compares each step with a reuse of the step before."""

    chunks: list[list[Trial]] = field(default_factory=list)
    _last: list[Tensor] = field(default_factory=list)

    def take(self, step: int, fields: list[Tensor], branches: Branches) -> None:
        if step == 0:
            self.chunks.append([])
        else:
            first, before = fields[0], self._last
            reused = [first, *(first + other - before[0] for other in before[1:])]
            error = change(branches.mix(reused), branches.mix(fields))
            self.chunks[-1].append(Trial(change(first, before[0]), error))
        self._last = fields


@dataclass(frozen=True, slots=True)
class Learned:
    """What may be left out; empty where nothing may, or where there is nothing to leave out."""

    thresholds: tuple[float, ...]
    reuse: Reuse
    scales: dict[str, float]
    error: float = 0.0  # relative, of clean latents under the table of reuse

    def toml(self) -> str:
        """For ``acceleration.toml`` in the checkpoint's folder."""
        text = ""
        if self.thresholds:
            text += f"[guidance]\nthresholds = {list(self.thresholds)}\n\n"
        if self.reuse.reused:
            words = ", ".join(f'"{word}"' for word in self.reuse.steps)
            text += f"[reuse]\nsteps = [{words}]\n\n"
        if self.scales:
            keep = ", ".join(f'"{pattern}"' for pattern in ONCE)
            text += f'[linears]\nmethod = "int8-static"\nkeep = [{keep}]\n\n[linears.scales]\n'
            text += "".join(f'"{name}" = {value:.6g}\n' for name, value in self.scales.items())
        return text


def learn(samples: Sequence[Sample], saved: float, budget: float, scales: bool = False) -> Learned:
    """Thresholds that save the share ``saved`` of all unconditional passes at the least error, and
    the table with most reuse whose mean relative error of clean latents stays within ``budget``;
    ``scales`` of int8-static too, for all layers that run every step."""
    first = samples[0]
    exact = [sample.clean(AccelerationPlan()) for sample in samples]

    def error(table: Reuse) -> float:
        pace = AccelerationPlan(reuse=table)
        return fmean(change(s.clean(pace), e) for s, e in zip(samples, exact, strict=True))

    steps, blocks = first.steps, first.dit.config.depth
    table = propose(error, steps, blocks, budget) if first.reusable else Reuse.of(steps, blocks)
    trials = [chunk for sample in samples for chunk in sample.trials()] if first.guided else []
    found = (
        calibrate(first.dit, Quantization("int8-dynamic", keep=ONCE),
                  lambda: [s.clean(AccelerationPlan()) for s in samples])
        if scales else {}
    )  # fmt: skip
    return Learned(
        learn_thresholds(trials, saved) if trials else (), table, found,
        error(table) if table.reused else 0.0,
    )  # fmt: skip
