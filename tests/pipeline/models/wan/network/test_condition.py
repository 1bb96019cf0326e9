"""What stands beside the noisy latents, in either layout."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.wan.network.condition import (
    Reference,
    beside,
    encode_reference,
    frames_of,
    latents_of,
)
from tests.pipeline.models.wan import small


def test_frames_and_latents_count_each_other() -> None:
    assert [frames_of(n) for n in range(4)] == [0, 1, 5, 9]
    assert [latents_of(n) for n in (0, 1, 2, 5, 6, 33)] == [0, 1, 2, 2, 3, 9]


def test_layout_a_marks_given_latents_with_zero() -> None:
    reference = Reference(torch.full((1, 16, 1, 2, 3), 5.0))
    side = beside(small.config("A"), reference, torch.tensor([True, False, False]))
    assert side.shape == (1, 17, 3, 2, 3)
    assert (side[:, :16] == 5).all()
    assert side[0, 16, :, 0, 0].tolist() == [0.0, 1.0, 1.0]


def test_layout_b_marks_the_given_frame_with_one() -> None:
    reference = Reference(torch.zeros(1), torch.full((1, 16, 3, 2, 3), 5.0))
    side = beside(small.config("B"), reference, torch.tensor([True, True, False]))
    assert side.shape == (1, 20, 3, 2, 3)
    assert side[0, :4, :, 0, 0].tolist() == [[1.0, 0.0, 0.0]] * 4
    assert (side[:, 4:] == 5).all()
    with pytest.raises(ValueError, match="encoded for 3 latents a chunk, not 2"):
        beside(small.config("B"), reference, torch.tensor([True, False]))


def test_layout_bs_video_is_the_picture_and_then_nothing() -> None:
    vae, still = small.vae(4, 16), torch.rand(1, 3, 16, 16) * 2 - 1
    got = encode_reference(vae, small.config("B"), still, 9)
    assert got.video is not None
    clip = torch.cat([still[:, :, None], torch.zeros(1, 3, 8, 16, 16)], dim=2)
    assert torch.equal(got.video, vae.encode(clip))
    assert torch.equal(got.latent, vae.encode(still[:, :, None]))
