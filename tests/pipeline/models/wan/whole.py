"""A whole Wan pipeline in small: random weights, real encoders, invented speech and pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.consent import ConsentGrant
from pipeline.media.image_file import Picture
from pipeline.models.wan.config import AddedAudio, AttendedAudio
from pipeline.models.wan.encoders.speech import SpeechEncoder
from pipeline.models.wan.loading import WanModel
from pipeline.models.wan.model_cards import Card, Recipe, card
from pipeline.models.wan.pipeline import WanPipeline
from tests.pipeline.models.wan import small

transformers = pytest.importorskip("transformers")

SIZE = (32, 16)
SHA = "ab" * 32


def picture(width: int = 60, height: int = 60) -> Picture:
    pixels = np.random.default_rng(4).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Picture(pixels, SHA)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(int(16_000 * seconds))
    return (0.1 * noise).astype(np.float32)


def prompt(text: str) -> Tensor:
    generator = torch.Generator().manual_seed(len(text))
    return torch.randn(1, 5, 20, generator=generator)


def listener(layout: str) -> SpeechEncoder:
    torch.manual_seed(7)
    config = transformers.Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return SpeechEncoder(transformers.Wav2Vec2Model(config), layout)


def small_card(name: str, **changes: object) -> Card:
    recipes = {
        "livetalk-1.3b": Recipe("ring", block=2, window=5, sink=2),
        "omniavatar-1.3b": Recipe("overlap", frames=21, overlap=5),
        "flashtalk-14b": Recipe("motion", frames=21, overlap=5),
        "infinitetalk-14b": Recipe("motion", frames=21, overlap=5),
        "multitalk-14b": Recipe("video", frames=21, overlap=5),
        "avatarforcing-1.3b": Recipe("rolling", block=2, window=10, sink=1),
        "liveact-18b": card("liveact-18b").recipe,
    }
    values: dict[str, object] = {"sizes": (SIZE,), "recipe": recipes[name]}
    return replace(card(name), **(values | changes))  # type: ignore[arg-type]


def model(name: str, **changes: object) -> WanModel:
    chosen = small_card(name, **changes)
    if chosen.layout == "A":
        dit = small.dit("A", audio=AddedAudio(96, 8, 2))
        sight = None
    else:
        dit = small.dit("B", audio=AttendedAudio(48, 5, 10, 3, 6, True))

        def sight(pixels: Tensor) -> Tensor:
            return pixels.mean((2, 3)).repeat(1, 6).expand(1, 257, 18)

    return WanModel(chosen, dit, small.vae(4, 16), listener(chosen.layout), prompt, sight)


def render(pipeline: WanPipeline, grant: ConsentGrant, seconds: float, **options: object):  # type: ignore[no-untyped-def]
    avatar = pipeline.enrol(picture(), grant, size=SIZE)
    pieces = np.array_split(speech(seconds), 7)
    return list(pipeline.render(avatar, grant, pieces, "calm", seed=3, **options))
