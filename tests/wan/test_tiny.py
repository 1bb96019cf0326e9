"""The small decoder: streaming, and under its published names."""

from __future__ import annotations

import torch

from pipeline.models.wan.tiny import TinyDecoder, TinyStream
from tests import wan_small as small


def test_the_small_decoder_streams_and_gives_the_right_frames() -> None:
    torch.manual_seed(0)
    decoder = TinyDecoder(16, (8, 6, 4, 4))
    small.randomise(decoder, std=0.3)
    latents = torch.randn(1, 16, 5, 2, 3)
    whole = TinyStream(decoder).push(latents)
    assert whole.shape == (1, 3, 17, 16, 24) and whole.abs().max() <= 1
    stream = TinyStream(decoder)
    pieces = [stream.push(part) for part in latents.split([1, 3, 1], dim=2)]
    assert small.relative(torch.cat(pieces, dim=2), whole) < 1e-5


def test_the_small_decoder_has_the_published_names() -> None:
    names = set(TinyDecoder().state_dict())
    assert {"decoder.1.weight", "decoder.3.conv.0.weight", "decoder.7.conv.weight",
            "decoder.8.weight", "decoder.13.conv.weight", "decoder.19.conv.weight",
            "decoder.22.bias"} <= names  # fmt: skip
    shapes = {k: tuple(v.shape) for k, v in TinyDecoder().state_dict().items()}
    assert shapes["decoder.1.weight"] == (256, 16, 3, 3)
    assert shapes["decoder.19.conv.weight"] == (128, 64, 1, 1)
