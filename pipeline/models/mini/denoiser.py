"""Denoising for both schedules: chunks in, clean latents out.

A ``GenerationState`` is what the generator remembers of one speaker: audio embeddings, clean
latents, and the trace of the last speculative chunk. ``denoise`` takes the chunks of any number of
speakers as one batch, harmonises the chunks of each speaker after every step, and changes no state.
``GenerationState.commit`` stores the result, one speaker at a time. The causal schedule has two
chunks per speaker, the parallel one a window of them; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.diffusion.chunks import Chunk, plan
from pipeline.diffusion.context import Timeline
from pipeline.diffusion.continuum import OverlapTrace, harmonise
from pipeline.diffusion.guidance import CfgCache, guide
from pipeline.diffusion.sampling import euler, latent_noise, predict_x0, renoise
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.dit import Condition


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
    def commit(self, made: Made) -> Tensor:
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call of ``advance`` does for one performance."""

    chunks: Sequence[Chunk]
    emit: int  # latents that become final
    leave_from: int  # absolute index: the last chunk's fields from here are left as a trace


@dataclass(frozen=True, slots=True)
class Made:
    """What one performance gets of a batch: clean ``latents`` (C, emit, 1, P) from ``start``, and
    the fields per noise level that it leaves behind for latents from ``left_from``."""

    start: int
    latents: Tensor
    left_from: int
    left: list[Tensor]


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


class Transformer(Protocol):
    """What denoising asks of a transformer, whatever runs it. ``condition`` is encoded once a
    chunk into something of its own; ``velocity`` takes the noise level as a number, and in the
    blocks of ``reuse`` what attention gave at the last step that computed it."""

    parts: int

    def condition(self, c: Condition) -> Any: ...

    def velocity(
        self, x: Tensor, level: float, cache: Any, reuse: Collection[int] = ()
    ) -> Tensor: ...


class Denoiser:
    """The transformer with its schedule, sampler and guidance: noise -> clean latents.

    The branches of guidance are one batch, unless the CFG cache may spare one of them. ``forwards``
    counts passes over noisy tokens, ``reused`` the unconditional ones that the CFG cache spared.
    """

    def __init__(self, dit: Transformer, config: ModelConfig, null_prompt: Tensor) -> None:
        self._dit, self._config, self._null_prompt = dit, config, null_prompt
        self.levels = config.schedule.levels
        self._reuse = config.acceleration.reused_blocks(config.schedule.steps)
        self._thresholds = config.acceleration.cfg_cache or (0.0,) * config.schedule.steps
        self._guided = config.guidance.scale != 1.0
        self._together = self._guided and not any(self._thresholds)
        self.forwards = self.reused = 0

    def advance(
        self, performances: Sequence[GenerationState], plans: Sequence[Plan]
    ) -> list[Tensor]:
        """The new clean latents (C, emit, 1, P) of each performance, which remembers them."""
        made = self.denoise(performances, plans)
        return [p.commit(new) for p, new in zip(performances, made, strict=True)]

    @torch.inference_mode()
    def denoise(self, performances: Sequence[GenerationState], plans: Sequence[Plan]) -> list[Made]:
        """What each performance is to remember next; none of them is changed."""
        pairs = [(p, chunk) for p, plan in zip(performances, plans, strict=True)
                 for chunk in plan.chunks]  # fmt: skip
        caches = self._told(self._condition(pairs))
        branches = CfgCache(self._thresholds)
        x = torch.stack([self._noise(p, chunk, 0) for p, chunk in pairs])
        left: list[list[Tensor]] = [[] for _ in performances]
        for i, (t, t_next) in enumerate(zip(self.levels, self.levels[1:], strict=False)):
            x0 = predict_x0(x, self._velocity(x, i, caches, branches), t)
            x0 = self._agree(x0, i, performances, plans, left)
            if t_next == 0.0:
                x = x0
            elif self._config.schedule.sampler == "euler":
                x = euler(x, x0, t, t_next)
            else:
                fresh = torch.stack([self._noise(p, chunk, i + 1) for p, chunk in pairs])
                x = renoise(x0, fresh, t_next)
        return self._split(x, performances, plans, left)

    def _condition(self, pairs: Sequence[tuple[GenerationState, Chunk]]) -> Condition:
        past = self._config.chunks.context
        contexts = [p.latents.read(c.start - past, past) for p, c in pairs]
        audio = [p.audio.read(c.start - past, past + c.length) for p, c in pairs]
        return Condition(
            reference=torch.stack([p.reference for p, _ in pairs]),
            prompt=torch.stack([p.prompt for p, _ in pairs]),
            context=torch.stack([c for c, _ in contexts]),
            context_valid=torch.stack([v for _, v in contexts]),
            audio=torch.stack([a for a, _ in audio]),
            audio_known=torch.stack([k for _, k in audio]),
        )

    def _unconditional(self, c: Condition) -> Condition:
        return Condition(
            c.reference, self._null_prompt.expand_as(c.prompt), c.context, c.context_valid,
            c.audio, torch.zeros_like(c.audio_known),
        )  # fmt: skip

    def _noise(self, p: GenerationState, chunk: Chunk, draw: int) -> Tensor:
        shape = (self._config.vae.channels, chunk.length, 1, self._dit.parts)
        return latent_noise(p.seed, chunk.start, shape, draw) * p.spread

    def _told(self, condition: Condition) -> list[Any]:
        """The condition as the transformer keeps it: one for each pass of a step."""
        branches = [condition]
        if self._guided:
            branches.append(self._unconditional(condition))
        if self._together:
            parts = [[getattr(c, f.name) for c in branches] for f in fields(Condition)]
            branches = [Condition(*map(torch.cat, parts))]
        return [self._dit.condition(branch) for branch in branches]

    def _fields(self, x: Tensor, step: int, caches: list[Any]) -> list[Tensor]:
        """The field of every branch, none of them reused."""
        if self._together:
            return list(self._forward(torch.cat([x, x]), step, caches[0]).chunk(2))
        return [self._forward(x, step, cache) for cache in caches]

    def _velocity(self, x: Tensor, step: int, caches: list[Any], branches: CfgCache) -> Tensor:
        guidance = self._config.guidance
        if not self._guided:
            return self._forward(x, step, caches[0])
        if self._together:
            conditional, unconditional = self._fields(x, step, caches)
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

    def _forward(self, x: Tensor, step: int, cache: Any) -> Tensor:
        self.forwards += 1
        return self._dit.velocity(x, self.levels[step], cache, self._reuse[step])

    @staticmethod
    def _agree(
        x0: Tensor,
        level: int,
        performances: Sequence[GenerationState],
        plans: Sequence[Plan],
        left: list[list[Tensor]],
    ) -> Tensor:
        """Harmonise each performance's chunks, the first with what the past left for it."""
        out, row = [], 0
        for p, plan_, kept in zip(performances, plans, left, strict=True):
            fields = x0[row : row + len(plan_.chunks)].clone()
            row += len(plan_.chunks)
            fields[0] = p.trace.pull(fields[0], plan_.chunks[0].start, level)
            fields = harmonise(fields, plan_.chunks)
            last = plan_.chunks[-1]
            kept.append(fields[-1][:, max(0, plan_.leave_from - last.start) :])
            out.append(fields)
        return torch.cat(out)

    @staticmethod
    def _split(
        x: Tensor,
        performances: Sequence[GenerationState],
        plans: Sequence[Plan],
        left: list[list[Tensor]],
    ) -> list[Made]:
        made, row = [], 0
        for p, plan_, kept in zip(performances, plans, left, strict=True):
            start, pieces, covered = p.position, [], p.position
            for chunk in plan_.chunks:
                stop = min(chunk.stop, start + plan_.emit)
                if stop > covered:
                    pieces.append(x[row, :, covered - chunk.start : stop - chunk.start])
                    covered = stop
                row += 1
            left_from = max(plan_.leave_from, plan_.chunks[-1].start)
            made.append(Made(start, torch.cat(pieces, dim=1), left_from, kept))
        return made
