"""The bundled model's networks on ONNX Runtime, with the interfaces of their torch modules.

Stateless like the modules: state of a chunk or stream is passed in and out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from pipeline.models.mini.audio import AudioEncoder
from pipeline.models.mini.dit import Condition, DiT
from pipeline.models.mini.onnx.builder import Array, Session
from pipeline.models.mini.onnx.dit_graph import DitGraphs, modulation
from pipeline.models.mini.onnx.motion_graph import decoding_graph, hearing_graph
from pipeline.models.mini.vae import MotionVae


@dataclass(frozen=True, slots=True)
class EncodedCondition:
    """What the condition graph gave, by name, and what attention gave at the last step."""

    kept: dict[str, Array]
    attended: dict[str, Array] = field(default_factory=dict)


class OnnxDit:
    """The transformer for chunks of some ``lengths`` after ``past`` latents of context.

    ``keep`` makes every step hand out what its attentions gave, for steps that reuse them.
    """

    def __init__(
        self,
        dit: DiT,
        past: int,
        lengths: Iterable[int],
        prompt_tokens: int,
        precision: str = "float32",
        threads: int = 1,
        keep: bool = False,
    ) -> None:
        self.parts, self._past, self._keep = dit.parts, past, keep
        self._lengths, self._threads = frozenset(lengths), threads

        @cache
        def graphs(length: int) -> DitGraphs:
            return DitGraphs(dit, past, length, prompt_tokens, precision)

        @cache
        def level(value: float) -> Array:
            return modulation(dit, value)

        self._graphs, self._level = graphs, level
        self._condition_session = cache(lambda length: graphs(length).condition(threads))
        self._step_session = cache(self._make_step)

    def _make_step(self, length: int, reuse: frozenset[int]) -> Session:
        return self._graphs(length).step(reuse, self._keep, self._threads)

    def condition(self, c: Condition) -> EncodedCondition:
        """As ``DiT.condition``; raises ``ValueError`` for lengths that were not announced."""
        past, length = c.context.shape[2], c.audio.shape[1] - c.context.shape[2]
        if past != self._past or length not in self._lengths:
            raise ValueError(
                f"chunks of {length} latents after {past}: this transformer was prepared for "
                f"{sorted(self._lengths)} after {self._past}"
            )
        fed = {
            "reference": c.reference, "prompt": c.prompt, "context": c.context,
            "valid": c.context_valid, "audio": c.audio, "known": c.audio_known,
        }  # fmt: skip
        return EncodedCondition(
            self._condition_session(length)({k: v.numpy() for k, v in fed.items()})
        )

    def velocity(
        self, x: Tensor, level: float, told: EncodedCondition, reuse: Collection[int] = ()
    ) -> Tensor:
        """As ``DiT.velocity``."""
        session = self._step_session(x.shape[2], frozenset(reuse))
        given = {"x": x.contiguous().numpy(), "level": self._level(level)}
        out = session({**told.kept, **told.attended, **given})
        velocity = out.pop("velocity")
        told.attended.update(out)
        return torch.from_numpy(velocity)


class OnnxSpeechEncoder:
    """The audio encoder."""

    def __init__(self, encoder: AudioEncoder, threads: int = 1) -> None:
        self.look_ahead, self.dim, self._encoder = encoder.look_ahead, encoder.dim, encoder
        self._session = hearing_graph(encoder, threads)

    def nothing(self) -> list[Tensor]:
        """As ``AudioEncoder.nothing``."""
        return self._encoder.nothing()

    def hear(self, features: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """As ``AudioEncoder.hear``, for one stream."""
        fed = {f"memory{i}": past.numpy() for i, past in enumerate(memory)}
        embeddings, *kept = self._session({"features": features.numpy(), **fed}).values()
        return torch.from_numpy(embeddings), [torch.from_numpy(past) for past in kept]


class OnnxDecoder:
    """The decoder of body states."""

    def __init__(self, vae: MotionVae, threads: int = 1) -> None:
        self.history, self._session = vae.history, decoding_graph(vae, threads)

    def decode_after(self, latents: Tensor) -> Tensor:
        """As ``MotionVae.decode_after``."""
        return torch.from_numpy(self._session({"latents": latents.numpy()})["states"])
