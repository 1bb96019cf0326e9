"""The networks in published shapes, with random weights: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench
from pipeline.attention.backends import select
from pipeline.attention.exact import Attend
from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig
from pipeline.models.wan.generation.chunked import ChunkPerformance, GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.condition import Reference
from pipeline.models.wan.network.dit import Shortcut, WanDiT, keep_float32
from pipeline.models.wan.vae.autoencoder import VaeConfig, WanVae, published_vae

# dim, ffn, depth, heads; latents, rows and columns of latents; text tokens
SHAPES: Final = {
    "1.3b": (1536, 8960, 30, 12, 9, 64, 64, 512),
    "14b": (5120, 13824, 40, 40, 9, 56, 96, 512),
    "tiny": (128, 256, 4, 2, 3, 8, 8, 16),
}


def shape(b: Bench, name: str) -> tuple[int, ...]:
    return SHAPES["tiny" if b.tiny else name]


def config(b: Bench, name: str, layout: str, depth: int = 0) -> WanConfig:
    """Layout "A", "B", or "base"."""
    dim, ffn, blocks, heads, *_, words = shape(b, name)
    text, channels = (64, 48) if b.tiny else (4096, 10752)
    plain = WanConfig(dim, ffn, min(depth or blocks, blocks), heads, 16, 16, text, words, 256,
                      (1, 2, 2), 1e-6)  # fmt: skip
    if layout == "A":
        audio = AddedAudio(channels, 32, max(plain.depth // 2 - 1, 1))
        return replace(plain, in_channels=33, audio=audio)
    if layout == "B":
        heard = AttendedAudio(48 if b.tiny else 9216, 5, 512, 32, 768, True)
        return replace(plain, in_channels=36, image_dim=64 if b.tiny else 1280, audio=heard)
    return plain


def filled(name: str, like: Tensor, b: Bench) -> Tensor:
    """Random values of a spread that keeps activations near one."""
    made = torch.randn(like.shape, device=b.device)
    if like.ndim == 1:
        made = 0.05 * made + float(name.endswith("weight"))
    else:
        made *= like[0].numel() ** -0.5
    return made.to(torch.float32 if keep_float32(name) else b.half)


def transformer(b: Bench, name: str, layout: str = "A", depth: int = 0) -> WanDiT:
    with torch.device("meta"):
        dit = WanDiT(config(b, name, layout, depth))
    dit.load_state_dict({n: filled(n, v, b) for n, v in dit.state_dict().items()}, assign=True)
    return dit.eval().requires_grad_(False)


def decoder(b: Bench, dtype: torch.dtype | None = None) -> WanVae:
    with torch.device(b.device):
        return WanVae(vae_config(b)).eval().requires_grad_(False).to(dtype or b.half)


def vae_config(b: Bench) -> VaeConfig:
    return replace(published_vae(), width=8) if b.tiny else published_vae()


def given(b: Bench, dit: WanDiT, name: str, latents: int = 0) -> tuple[Any, ...]:
    """Latents, modulation, conditions and positions of one step."""
    *_, t, h, w, words = shape(b, name)
    t, c = latents or t, dit.config
    audio: Any = None
    if isinstance(c.audio, AddedAudio):
        audio = b.noise(1, t, 4 * c.audio.channels)
    elif isinstance(c.audio, AttendedAudio):
        channels = c.audio.channels
        audio = (b.noise(1, 1, 5, channels), b.noise(1, t - 1, 8, channels))
    image = b.noise(1, 257, c.image_dim) if c.image_dim else None
    x = b.noise(1, c.in_channels, t, h, w, dtype=torch.float32)
    told = dit.encode(b.noise(1, words, c.text_dim), image, audio)
    return x, dit.modulation(torch.tensor([833.3], device=b.device)), told, dit.table(x.shape)


def step(dit: WanDiT, told: tuple[Any, ...], attend: Attend) -> Callable[[], Tensor]:
    x, mod, hints, table = told
    return lambda: dit(x, mod, hints, table=table, shortcut=Shortcut(attend))


def attention(b: Bench, dit: WanDiT) -> Attend:
    """The best that this device has."""
    tokens = 64 if b.tiny else 1024
    wanted = ("flash3", "flash4", "flash2", "sdpa")
    size = (1, dit.config.heads, tokens, dit.config.head_dim)
    return select(wanted, size, dit.dtype, str(b.device)).attend


Speech = Callable[[], Tensor]


def performer(
    b: Bench, dit: WanDiT, pace: AccelerationPlan, seed: int
) -> tuple[ChunkPerformance, Speech]:
    """A stream of overlapping chunks in three steps, of the 1.3B shape, and its speech."""
    *_, latents, rows, columns, words = shape(b, "1.3b")
    source = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=source).to(b.device)

    text, latent = draw(1, words, dit.config.text_dim), draw(1, 16, 1, rows, columns)
    score = GenerationSetup(dit, Schedule(3, 5.0, "renoise", "float32"), Guidance(1.0, 1.0),
                  Reference(latent), seed, pace)  # fmt: skip
    run = ChunkPerformance(score, Prompts(text, text), latents, 1)
    channels = shape_channels(dit)

    def speech() -> Tensor:
        span = run.span()
        return torch.randn(span.stop - span.start, channels, generator=source)

    return run, speech


def shape_channels(dit: WanDiT) -> int:
    """Of the speech features of a video frame."""
    if dit.config.audio is None:
        raise ValueError("a base model hears nothing")
    return dit.config.audio.channels
