"""The autoencoder's own numbers are those that encode and decode are made of."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.wan.vae.raw import raw_frames, raw_moments
from tests.pipeline.models.wan import small


def test_normalised_means_are_the_latents() -> None:
    vae, frames = small.vae(), torch.rand(2, 3, 9, 16, 16) * 2 - 1
    mean, log_variance = raw_moments(vae, frames)
    assert mean.shape == log_variance.shape == (2, 4, 3, 2, 2)
    shift, scale = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.mean, vae.config.std))
    assert torch.equal((mean - shift) / scale, vae.encode(frames))
    with pytest.raises(ValueError, match="8 frames are not 1"):
        raw_moments(vae, frames[:, :, :8])


def test_clamped_frames_are_the_decoded_ones_and_these_are_not_clamped() -> None:
    vae = small.vae()
    latents = 8 * torch.randn(1, 4, 3, 2, 2)
    frames = raw_frames(vae, latents)
    assert frames.abs().max() > 1
    assert torch.equal(frames.clamp(-1, 1), vae.decode(latents))
