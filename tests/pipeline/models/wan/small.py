"""Small Wan models with random weights, for tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.wan.config import AddedAudio, AttendedAudio, WanConfig
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.vae.autoencoder import VaeConfig, WanVae, published_vae


def config(layout: str = "base", **changes: object) -> WanConfig:
    """A transformer of a few kilobytes; "A" and "B" have the published structure."""
    values: dict[str, object] = {
        "dim": 48, "ffn_dim": 80, "depth": 4, "heads": 2, "in_channels": 16,
        "latent_channels": 16, "text_dim": 20, "text_tokens": 7, "freq_dim": 32,
        "patch": (1, 2, 2), "eps": 1e-6,
    }  # fmt: skip
    if layout == "A":
        values |= {"depth": 6, "in_channels": 33, "audio": AddedAudio(14, 8, 2)}
    if layout == "B":
        audio = AttendedAudio(12, 5, 10, 3, 6, True)
        values |= {"in_channels": 36, "image_dim": 18, "audio": audio}
    return WanConfig(**(values | changes))  # type: ignore[arg-type]


def randomise(model: nn.Module, seed: int = 0, std: float = 0.15) -> nn.Module:
    """Every parameter random, norms around one, so that nothing is hidden by a zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator) * std
        around = 1.0 if name.endswith(("gamma",)) or (value.ndim == 1 and "norm" in name) else 0.0
        value.data = noise + (around if name.endswith(("weight", "gamma")) else 0.0)
    return model.eval().requires_grad_(False)


def dit(layout: str = "base", seed: int = 0, **changes: object) -> WanDiT:
    """A random transformer."""
    model = WanDiT(config(layout, **changes))
    randomise(model, seed)
    return model


def vae_config(width: int = 6, channels: int = 4) -> VaeConfig:
    """The published structure, thin."""
    full = published_vae()
    return VaeConfig(channels, width, full.multipliers, full.blocks, full.temporal,
                     full.mean[:channels], full.std[:channels])  # fmt: skip


def vae(width: int = 6, channels: int = 4, seed: int = 0) -> WanVae:
    """A random autoencoder."""
    model = WanVae(vae_config(width, channels))
    randomise(model, seed, 0.12)
    return model


def relative(a: Tensor, b: Tensor) -> float:
    """Norm of the difference over the norm of ``b``."""
    return float((a.double() - b.double()).norm() / b.double().norm())
