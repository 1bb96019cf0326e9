"""Candidate runtimes for the networks of a live step, and random inputs to compare them.

Inputs are drawn anew at every start, without touching the global random state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from pipeline.models.mini.audio import AudioEncoder, SpeechEncoder, feature_dim
from pipeline.models.mini.config import ModelConfig
from pipeline.models.mini.dit import Condition
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.guided_velocity import Transformer
from pipeline.models.mini.vae import PART_COUNT, Decoder

N = TypeVar("N")
Outputs = list[Tensor]


@dataclass(frozen=True, slots=True)
class Trial(Generic[N]):
    """One network's candidates, and what they are tried on.

    ``check`` gives outputs at every shape that will come, ``tick`` does what a live tick asks for.
    """

    network: str
    plain: N
    build: Callable[[], N]
    check: Callable[[N], Outputs]
    tick: Callable[[N], object]
    precision: str = "float32"


def trials(
    model: Generator, config: ModelConfig
) -> tuple[Trial[Transformer], Trial[SpeechEncoder], Trial[Decoder]]:
    """The networks of a live tick: what each can run on, and random inputs to try that with."""
    return _transformer(model, config), _ears(model, config), _decoder(model, config)


def _draws() -> Callable[..., Tensor]:
    """Normal numbers of any shape that leave everybody else's draws as they are."""
    source = torch.Generator().manual_seed(time.time_ns() % 2**31)
    return lambda *shape: torch.randn(*shape, generator=source)


def _transformer(model: Generator, config: ModelConfig) -> Trial[Transformer]:
    chunks, fast = config.chunks, config.acceleration
    live = chunks.live_hop + chunks.live_tail
    told = {length: random_condition(model, config, length) for length in {live, chunks.length}}
    draw = _draws()
    noisy = {n: draw(2, config.vae.channels, n, 1, PART_COUNT) for n in told}
    noise_levels = config.schedule.levels[:-1]
    reused = fast.reused_blocks(config.schedule.steps)

    def run(dit: Transformer, length: int, batch: int) -> Outputs:
        cache = dit.condition(first(told[length], batch))
        return [
            dit.velocity(noisy[length][:batch], level, cache, blocks)
            for level, blocks in zip(noise_levels, reused, strict=True)
        ]

    def build() -> Transformer:
        from pipeline.models.mini.onnx.networks import OnnxDit

        tokens = model.text.tokens
        return OnnxDit(model.dit, chunks.context, told, tokens, fast.precision, fast.threads,
                       keep=bool(fast.attention))  # fmt: skip

    return Trial(
        "transformer", model.dit, build, lambda dit: [v for n in told for v in run(dit, n, 2)],
        lambda dit: run(dit, live, 2 if chunks.live_tail else 1), fast.precision,
    )  # fmt: skip


def random_condition(
    model: Generator, config: ModelConfig, length: int, batch: int = 2
) -> Condition:
    """Random conditions of some chunks, all but the first one early in their streams."""
    draw, past = _draws(), config.chunks.context
    valid, known = torch.ones(batch, past).bool(), torch.ones(batch, past + length).bool()
    valid[1:, : past // 2] = known[1:, : past // 2] = False
    return Condition(
        reference=draw(batch, model.dit.reference_in.in_features),
        prompt=draw(batch, model.text.tokens, config.dit.dim),
        context=draw(batch, config.vae.channels, past, 1, PART_COUNT), context_valid=valid,
        audio=draw(batch, past + length, config.audio.embed_dim), audio_known=known,
    )  # fmt: skip


def first(c: Condition, count: int) -> Condition:
    """The conditions of the first ``count`` chunks."""
    return Condition(
        c.reference[:count], c.prompt[:count], c.context[:count], c.context_valid[:count],
        c.audio[:count], c.audio_known[:count],
    )  # fmt: skip


def _ears(model: Generator, config: ModelConfig) -> Trial[SpeechEncoder]:
    draw, stride = _draws(), AudioEncoder.STRIDE
    memory = [draw(*past.shape) for past in model.audio.nothing()]
    features = [
        draw(1, latents * stride, feature_dim(config.audio.mel_bands))
        for latents in (config.chunks.live_hop, AudioEncoder.REACH)
    ]

    def run(ears: SpeechEncoder, heard: Tensor) -> Outputs:
        out, kept = ears.hear(heard, memory)
        return [out, *kept]

    def build() -> SpeechEncoder:
        from pipeline.models.mini.onnx.networks import OnnxSpeechEncoder

        return OnnxSpeechEncoder(model.audio, config.acceleration.threads)

    return Trial(
        "audio encoder", model.audio, build,
        lambda ears: [x for heard in features for x in run(ears, heard)],
        lambda ears: run(ears, features[0]),
    )  # fmt: skip


def _decoder(model: Generator, config: ModelConfig) -> Trial[Decoder]:
    draw, history = _draws(), config.vae.history
    latents = [
        draw(1, config.vae.channels, history + fresh, 1, PART_COUNT)
        for fresh in (config.chunks.live_hop, config.chunks.length)
    ]

    def build() -> Decoder:
        from pipeline.models.mini.onnx.networks import OnnxDecoder

        return OnnxDecoder(model.vae, config.acceleration.threads)

    return Trial(
        "decoder", model.vae, build, lambda net: [net.decode_after(x) for x in latents],
        lambda net: net.decode_after(latents[0]),
    )  # fmt: skip
