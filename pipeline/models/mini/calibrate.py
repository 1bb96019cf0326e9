"""What ``mini`` can reuse across denoising steps: thresholds of guidance, a table of attention.

Sample speech is generated in full and watched. For guidance, the relative change below which the
unconditional branch need not run again; for attention, which outputs may be reused.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.attention.cache import Reuse, propose
from pipeline.avatars import catalogue
from pipeline.diffusion.guidance import CfgCache, Trial, change, guide, learn_thresholds
from pipeline.diffusion.sampling import euler, predict_x0, renoise
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.dit import Condition, DiT
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.guided_velocity import GuidedVelocity, Transformer
from pipeline.models.mini.offline import Speech, states, trace_for
from pipeline.models.mini.onnx.runtime import accelerate
from pipeline.models.mini.rig.fit import Fit, reference_vector

PERFORMERS: Final = 3  # bundled people that speak each sample
Sample = tuple[Condition, Tensor]


@dataclass(frozen=True, slots=True)
class Learned:
    """What calibration found; ``error`` is relative, of clean latents under the reuse table."""

    thresholds: tuple[float, ...]  # empty: one branch only
    saved: float  # share of unconditional passes that the thresholds spared on the samples
    reuse: Reuse
    error: float


class WatchedVelocity(GuidedVelocity):
    """Spares nothing; records each chunk's condition, and the error that reuse would cause."""

    def __init__(self, dit: Transformer, config: ModelConfig, null_prompt: Tensor) -> None:
        super().__init__(dit, config, null_prompt)
        self.samples: list[Sample] = []
        self.trials: list[list[Trial]] = []
        self._condition: Condition | None = None
        self._last: Tensor | None = None

    def encode(self, condition: Condition) -> list[Any]:
        self._condition = condition
        return super().encode(condition)

    def at(self, x: Tensor, step: int, caches: list[Any], branches: CfgCache) -> Tensor:
        if self._condition is not None:  # the first step: ``x`` is the chunk's noise
            self.samples.append((self._condition, x))
            self.trials.append([])
            self._condition = None
        found = self.branches(x, step, caches)
        if len(found) == 1:
            return found[0]
        guidance = self.config.guidance
        guided = guide(found[0], found[1], guidance.scale, guidance.rescale)
        if self._last is not None:
            (guess,) = branches.reuse(found[0])
            lazy = guide(found[0], guess, guidance.scale, guidance.rescale)
            self.trials[-1].append(Trial(change(found[0], self._last), change(lazy, guided)))
        branches.keep(found[0], found[1:])
        self._last = None if step == len(self.levels) - 2 else found[0]
        return guided


@torch.inference_mode()
def learn(
    model: Generator,
    config: ModelConfig,
    clips: Sequence[Speech],
    references: Sequence[Speech],
    saved: float,
    budget: float,
) -> Learned:
    """Thresholds that save at least the share ``saved`` of unconditional passes, and the table of
    most reuse whose relative error stays within ``budget``.

    Every clip (float32 mono 16 kHz) is performed live by every reference (R,). Raises
    ``ValueError`` where there is nothing to learn from, or more is to be saved than can be.
    """
    full = replace(config, acceleration=replace(config.acceleration, cfg_cache=(), attention=()))
    networks, null = accelerate(model, full), model.text([""])[0]
    watched = WatchedVelocity(networks.dit, full, null)
    denoiser = Denoiser(watched)
    for seed, (clip, reference) in enumerate(product(clips, references)):
        trace, spread = trace_for(full, "causal"), full.motion.spread("causal")
        performer = GenerationState(full, torch.from_numpy(reference), null, seed, trace, spread)
        deque(states(networks, denoiser, performer, [clip], "causal"), maxlen=0)
    if not watched.samples:
        raise ValueError(f"nothing to learn from: {len(clips)} clips, {len(references)} references")
    thresholds: tuple[float, ...] = ()
    spared = 0.0
    if full.guidance.scale != 1.0:
        learned = learn_thresholds(watched.trials, saved)
        thresholds = tuple(float(f"{bound:.4g}") for bound in learned)
        spared = _spared(watched.trials, thresholds)
    error = Replay(model.dit, full, watched.samples)
    reuse = propose(error, full.schedule.steps, full.dit.depth, budget)
    return Learned(thresholds, spared, reuse, error(reuse))


def _spared(trials: Sequence[Sequence[Trial]], thresholds: Sequence[float]) -> float:
    """Share of all unconditional passes that thresholds spare on the trials."""
    hits = sum(
        trial.change < bound
        for sample in trials
        for trial, bound in zip(sample, thresholds[1:], strict=True)
    )
    return hits / (len(trials) * len(thresholds))


class Replay:
    """Denoises the chunks that were watched once more, all in one batch, with a table of reuse.

    Calling it gives the relative error of the clean latents against full attention.
    """

    def __init__(self, dit: DiT, config: ModelConfig, samples: Sequence[Sample]) -> None:
        told, noise = zip(*samples, strict=True)
        self._condition = Condition(
            *(torch.cat([getattr(c, f.name) for c in told]) for f in fields(Condition))
        )
        self._dit, self._noise, self._schedule = dit, torch.cat(noise), config.schedule
        self._full = self._denoised(Reuse.of(config.schedule.steps, config.dit.depth))

    @torch.inference_mode()
    def _denoised(self, table: Reuse) -> Tensor:
        cache, x, schedule = self._dit.condition(self._condition), self._noise, self._schedule
        noise_levels = schedule.levels
        for word, t, following in zip(table.steps, noise_levels, noise_levels[1:], strict=False):
            blocks = {block for block, letter in enumerate(word) if letter == "R"}
            x0 = predict_x0(x, self._dit.velocity(x, t, cache, blocks), t)
            plain_flow = schedule.sampler == "euler"
            x = euler(x, x0, t, following) if plain_flow else renoise(x0, self._noise, following)
        return x

    def __call__(self, table: Reuse) -> float:
        return change(self._denoised(table), self._full)


def written(text: str, learned: Learned) -> str:
    """A model's TOML with what was learned under ``[acceleration]``, comments left alone."""
    table = [] if not learned.reuse.reused else list(learned.reuse.steps)
    values = {"cfg_cache": list(learned.thresholds), "attention": table}
    head, found, rest = text.partition("[acceleration]")
    if not found:
        raise ValueError("the model's TOML has no section [acceleration]")
    for key, value in values.items():
        plain = json.dumps(value).replace("Infinity", "inf")
        pattern = rf"^({key}\s*=\s*)\[[^\]]*\]"
        rest, count = re.subn(pattern, rf"\g<1>{plain}", rest, count=1, flags=re.M)
        if count != 1:
            raise ValueError(f"the section [acceleration] has no list {key}")
    return head + found + rest


def references() -> list[Speech]:
    """The reference vectors of the bundled people."""
    fits = [Fit.from_json(found.fit.read_text("utf-8")) for found in catalogue().values()]
    return [reference_vector(fit, fit.camera) for fit in fits[:PERFORMERS]]


def report(learned: Learned, scale: float, path: Path | None) -> str:
    """What was learned, in words."""
    lines = [f"guidance scale {scale:g}: " + (
        f"thresholds {list(learned.thresholds)} spare {learned.saved:.0%} of unconditional passes"
        if learned.thresholds else "one branch, nothing for the CFG cache to spare"
    )]  # fmt: skip
    lines.append(
        f"attention {' '.join(learned.reuse.steps)}: {learned.reuse.reused} of "
        f"{learned.reuse.blocks * len(learned.reuse.steps)} reused, error {learned.error:.2%}"
    )
    lines.append(f"written to {path}" if path else "nothing written; --write puts it into the TOML")
    return "\n".join(lines)
