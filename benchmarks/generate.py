"""Runs the generator alone, without pictures: what the motion figures are taken from.

No avatar is drawn and nobody's picture is read here, so no consent is asked for; the references are
those of random parametric bodies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.mini.config import ModelConfig, load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import Generator, load_generator
from pipeline.models.mini.guided_velocity import GuidedVelocity
from pipeline.models.mini.offline import states, trace_for
from pipeline.models.mini.onnx.runtime import Networks, accelerate
from pipeline.models.mini.rig.fit import REF_DIM


class Motion:
    """The bundled generator with parts of its configuration replaced."""

    def __init__(self, model: Generator | None = None) -> None:
        self.model = model or load_generator(load_config("mini"), REF_DIM)
        self.config: ModelConfig = self.model.config
        self._networks: Networks | None = None

    @classmethod
    def of(cls, weights: Path) -> Motion:
        """Another weights file of the same shapes."""
        return cls(load_generator(load_config("mini"), REF_DIM, weights))

    def with_schedule(self, steps: int, shift: float | None = None) -> Motion:
        """The same weights under another number of steps, and perhaps another shift."""
        old = self.config.schedule
        schedule = replace(old, steps=steps, shift=old.shift if shift is None else shift)
        trace = replace(self.config.continuum, trace=(0.5,) * (steps - 1) + (0.0,))
        return self._with(replace(self.config, schedule=schedule, continuum=trace))

    def with_guidance(self, scale: float) -> Motion:
        """The same weights under classifier-free guidance."""
        return self._with(replace(self.config, guidance=replace(self.config.guidance, scale=scale)))

    def _with(self, config: ModelConfig) -> Motion:
        other = Motion(self.model)
        other.config = config
        return other

    @torch.inference_mode()
    def perform(
        self,
        audio: NDArray[np.float32],
        reference: NDArray[np.float32],
        prompt: str = "",
        seed: int = 0,
        schedule: str = "parallel",
    ) -> NDArray[np.float32]:
        """Body states (frames, 88) of speech (N,)."""
        networks = self._networks = self._networks or accelerate(self.model, self.config)
        tokens, null = self.model.text([prompt, ""])
        denoiser = Denoiser(GuidedVelocity(networks.dit, self.config, null))
        performance = GenerationState(
            self.config, torch.from_numpy(reference), tokens, seed,
            trace_for(self.config, schedule), self.config.motion.spread(schedule),
        )  # fmt: skip
        return np.stack(list(states(networks, denoiser, performance, [audio], schedule)))

    def joins(self, frames: int) -> list[int]:
        """First frames of the chunks (and so of their shared windows) of the parallel schedule."""
        chunks, stride = self.config.chunks, self.config.vae.temporal_stride
        hop = (chunks.length - chunks.overlap) * stride
        edges = [k + edge for k in range(hop, frames, hop) for edge in (0, chunks.overlap * stride)]
        return [edge for edge in edges if edge < frames - 1]
