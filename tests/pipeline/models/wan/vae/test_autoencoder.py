"""The Wan autoencoder: equal to diffusers', and the same whole or in pieces."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.wan.vae.autoencoder import VaeDecoder, VaeEncoder, WanVae, published_vae
from tests.pipeline.models.wan import small


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(5)


def diffusers_twin(vae: WanVae):  # type: ignore[no-untyped-def]
    diffusers = pytest.importorskip("diffusers")
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    c = vae.config
    twin = diffusers.AutoencoderKLWan(
        base_dim=c.width, z_dim=c.channels, latents_mean=list(c.mean), latents_std=list(c.std)
    )
    twin.load_state_dict(convert_wan_vae_to_diffusers(dict(vae.state_dict())), strict=True)
    return twin.eval().requires_grad_(False)


def column(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1, 1)


def test_encoding_equals_diffusers() -> None:
    vae = small.vae()
    frames = torch.rand(1, 3, 9, 32, 24) * 2 - 1
    theirs = diffusers_twin(vae).encode(frames).latent_dist.mode()
    normal = (theirs - column(vae.config.mean)) / column(vae.config.std)
    ours = vae.encode(frames)
    assert ours.shape == (1, 4, 3, 4, 3)
    assert small.relative(ours, normal) < 1e-5


def test_decoding_equals_diffusers() -> None:
    vae = small.vae()
    latents = torch.randn(1, 4, 4, 4, 3)
    raw = latents * column(vae.config.std) + column(vae.config.mean)
    theirs = diffusers_twin(vae).decode(raw).sample
    ours = vae.decode(latents)
    assert ours.shape == (1, 3, 13, 32, 24) and ours.abs().max() <= 1
    assert small.relative(ours, theirs) < 1e-5


def test_the_constants_are_those_of_diffusers() -> None:
    import inspect

    diffusers = pytest.importorskip("diffusers")
    defaults = inspect.signature(diffusers.AutoencoderKLWan.__init__).parameters
    assert published_vae().mean == tuple(defaults["latents_mean"].default)
    assert published_vae().std == tuple(defaults["latents_std"].default)
    assert published_vae().width == defaults["base_dim"].default


@pytest.mark.parametrize("split", [[1, 1, 1, 1, 1], [2, 3], [4, 1], [1, 4]])
def test_streaming_decode_equals_the_whole_clip_to_the_bit(split: list[int]) -> None:
    vae = small.vae()
    latents = torch.randn(1, 4, 5, 2, 3)
    stream = VaeDecoder(vae)
    pieces = [stream.push(part) for part in latents.split(split, dim=2)]
    assert torch.equal(torch.cat(pieces, dim=2), vae.decode(latents))


@pytest.mark.parametrize("split", [[1] * 13, [5, 8], [3, 1, 7, 2], [13]])
def test_streaming_encode_equals_the_whole_clip_to_the_bit(split: list[int]) -> None:
    vae = small.vae()
    frames = torch.rand(1, 3, 13, 16, 24) * 2 - 1
    stream = VaeEncoder(vae)
    pieces = [stream.push(part) for part in frames.split(split, dim=2)]
    assert torch.equal(torch.cat(pieces, dim=2), vae.encode(frames))


def test_a_decoder_that_restarts_gives_other_frames() -> None:
    vae = small.vae()
    latents = torch.randn(1, 4, 4, 2, 3)
    whole = vae.decode(latents)[:, :, -4:]
    stream = VaeDecoder(vae)
    stream.push(latents[:, :, :3])
    stream.reset()
    again = stream.push(latents[:, :, 2:])[:, :, -4:]
    assert small.relative(again, whole) > 0.05


def test_two_streams_do_not_share_their_past() -> None:
    vae = small.vae()
    a, b = torch.randn(2, 1, 4, 3, 2, 3)
    first, second = VaeDecoder(vae), VaeDecoder(vae)
    mixed = []
    for i in range(3):
        mixed.append(first.push(a[:, :, i : i + 1]))
        second.push(b[:, :, i : i + 1])
    assert torch.equal(torch.cat(mixed, dim=2), vae.decode(a))


def test_the_full_size_autoencoder_has_the_published_counts() -> None:
    with torch.device("meta"):
        vae = WanVae(published_vae())
    assert len(vae.state_dict()) == 194
    assert sum(p.numel() for p in vae.parameters()) == 126_892_531
