"""Denoising for both schedules: chunks in, clean latents out.

``denoise`` takes the chunks of any number of speakers as one batch, harmonises the chunks of each
speaker after every step, and changes no state; ``GenerationState.commit`` stores the result, one
speaker at a time. The causal schedule has two chunks per speaker, the parallel one a window of
them; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.diffusion.chunks import Chunk
from pipeline.diffusion.continuum import harmonise
from pipeline.diffusion.sampling import euler, latent_noise, predict_x0, renoise
from pipeline.models.mini.chunk_plan import Plan
from pipeline.models.mini.dit import Condition
from pipeline.models.mini.generation_state import GenerationState, NewLatents
from pipeline.models.mini.guided_velocity import GuidedVelocity


class Denoiser:
    """A velocity with its schedule and sampler: noise -> clean latents."""

    def __init__(self, velocity: GuidedVelocity) -> None:
        self.velocity, self._config = velocity, velocity.config
        self.levels = velocity.levels

    def advance(
        self, performances: Sequence[GenerationState], plans: Sequence[Plan]
    ) -> list[Tensor]:
        """The new clean latents (C, emit, 1, P) of each performance, which remembers them."""
        made = self.denoise(performances, plans)
        return [p.commit(new) for p, new in zip(performances, made, strict=True)]

    @torch.inference_mode()
    def denoise(
        self, performances: Sequence[GenerationState], plans: Sequence[Plan]
    ) -> list[NewLatents]:
        """What each performance is to remember next; none of them is changed."""
        pairs = [(p, chunk) for p, plan in zip(performances, plans, strict=True)
                 for chunk in plan.chunks]  # fmt: skip
        caches, branches = self.velocity.encode(self._condition(pairs)), self.velocity.cache()
        x = torch.stack([self._noise(p, chunk, 0) for p, chunk in pairs])
        left: list[list[Tensor]] = [[] for _ in performances]
        for i, (t, t_next) in enumerate(zip(self.levels, self.levels[1:], strict=False)):
            x0 = predict_x0(x, self.velocity.at(x, i, caches, branches), t)
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

    def _noise(self, p: GenerationState, chunk: Chunk, draw: int) -> Tensor:
        shape = (self._config.vae.channels, chunk.length, 1, self.velocity.parts)
        return latent_noise(p.seed, chunk.start, shape, draw) * p.spread

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
    ) -> list[NewLatents]:
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
            made.append(NewLatents(start, torch.cat(pieces, dim=1), left_from, kept))
        return made
