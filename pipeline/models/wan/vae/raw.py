"""The autoencoder's raw numbers: not normalised, not clamped.

``WanVae.encode`` keeps normalised means only, and ``decode`` clamps to [-1, 1], as the published
programs do. Other programs may need the numbers themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.wan.vae.autoencoder import Past, WanVae


@torch.no_grad()
def raw_moments(vae: WanVae, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames in [-1, 1] (B, 3, 1 + 4 n, H, W) -> means and log variances, each (B, 16, 1 + n, h, w)
    as the encoder gives them."""
    if (frames.shape[2] - 1) % 4:
        raise ValueError(f"{frames.shape[2]} frames are not 1 + 4 n")
    past: Past = {}
    groups = [frames[:, :, :1], *frames[:, :, 1:].split(4, dim=2)]
    made = [vae.conv1(vae.encoder(group.to(vae.dtype), past), past).float()
            for group in groups if group.shape[2]]  # fmt: skip
    mean, log_variance = torch.cat(made, dim=2).chunk(2, dim=1)
    return mean, log_variance


@torch.no_grad()
def raw_frames(vae: WanVae, latents: Tensor) -> Tensor:
    """Normalised latents (B, 16, T, h, w) -> frames (B, 3, 4 T - 3, 8 h, 8 w), not clamped."""
    past: Past = {}
    made = [vae.decoder(vae.raw(latent, past), past).float() for latent in latents.split(1, dim=2)]
    return torch.cat(made, dim=2)
