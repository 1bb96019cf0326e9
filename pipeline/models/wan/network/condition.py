"""What stands beside the noisy latents at the transformer's input, in either layout.

Letters: B batch, T latents, F video frames, h and w of the latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.wan.config import WanConfig, temporal_stride
from pipeline.models.wan.vae.autoencoder import WanVae


@dataclass(frozen=True, slots=True)
class Reference:
    """The picture, encoded once: its latent, layout B's conditioning video and CLIP tokens."""

    latent: Tensor  # (1, 16, 1, h, w)
    video: Tensor | None = None  # (1, 16, T, h, w) of the picture and zeros, layout B
    tokens: Tensor | None = None  # (1, 257, 1280), layout B


def latents_of(frames: int) -> int:
    """Latents of the first ``frames`` video frames of a clip, the last one possibly cut."""
    stride = temporal_stride()
    return 0 if frames <= 0 else 1 + -(-(frames - 1) // stride)


def frames_of(latents: int) -> int:
    """Video frames of the first ``latents`` latents."""
    return max(1 + temporal_stride() * (latents - 1), 0)


def encode_reference(
    vae: WanVae, config: WanConfig, picture: Tensor, frames: int, tokens: Tensor | None = None
) -> Reference:
    """``picture`` (1, 3, H, W) in [-1, 1]; ``frames`` of a chunk, for layout B's video."""
    still = picture[:, :, None]
    if config.layout != "B":
        return Reference(vae.encode(still))
    empty = still.new_zeros(1, 3, frames - 1, *still.shape[3:])
    video = vae.encode(torch.cat([still, empty], dim=2))
    return Reference(vae.encode(still), video, tokens)


def beside_a(reference: Tensor, known: Tensor) -> Tensor:
    """Layout A: the reference latent for every latent, and a mask, 0 where latents are given.

    ``reference`` (B, 16, 1, h, w), ``known`` bool (T,) -> (B, 17, T, h, w).
    """
    batch, _, _, height, width = reference.shape
    mask = (~known).to(reference).view(1, 1, -1, 1, 1).expand(batch, 1, -1, height, width)
    return torch.cat([reference.expand(-1, -1, len(known), -1, -1), mask], dim=1)


def encode_frames(
    vae: WanVae, frames: Tensor, clip: int = 0, see: Callable[[Tensor], Tensor] | None = None
) -> Reference:
    """The last ``frames`` (1, 3, m, H, W) of a video, as what the next chunk goes on from: their
    latents. With a ``clip`` of as many frames also a conditioning video, these frames and then
    nothing, and the tokens that ``see`` gives of the last of them."""
    if not clip or see is None:
        return Reference(vae.encode(frames))
    count = frames.shape[2]
    empty = frames.new_zeros(1, 3, clip - count, *frames.shape[3:])
    video = vae.encode(torch.cat([frames, empty], dim=2))
    return Reference(video[:, :, : latents_of(count)], video, see(frames[:, :, -1]))


def beside_b(video: Tensor, known: int = 1) -> Tensor:
    """Layout B: a mask of four channels, 1 in the ``known`` first latents, then the video.

    ``video`` (B, 16, T, h, w) -> (B, 20, T, h, w).
    """
    batch, _, latents, height, width = video.shape
    mask = video.new_zeros(batch, temporal_stride(), latents, height, width)
    mask[:, :, :known] = 1
    return torch.cat([mask, video], dim=1)


def beside(config: WanConfig, reference: Reference, known: Tensor) -> Tensor:
    """The input channels after the noisy ones, for latents of which ``known`` (T,) are given."""
    if config.layout == "A":
        return beside_a(reference.latent, known)
    if reference.video is None:
        raise ValueError(f"layout {config.layout!r} needs the reference's video")
    if reference.video.shape[2] != len(known):
        raise ValueError(f"the reference was encoded for {reference.video.shape[2]} latents a "
                         f"chunk, not {len(known)}")  # fmt: skip
    return beside_b(reference.video)
