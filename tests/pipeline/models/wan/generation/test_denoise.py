"""Noise levels, denoising steps and the branches of guidance, as published."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.models.wan.generation.denoise import (
    Known,
    Prompts,
    denoise,
    guided_branches,
    timestep,
)
from pipeline.models.wan.model_cards import Guidance, Schedule, card
from pipeline.models.wan.network.audio_conditioning import frame_windows, group_frames, latent_steps
from tests.pipeline.models.wan import small


def test_a_network_is_told_rounded_times_as_published() -> None:
    live = card("livetalk-1.3b").schedule
    told = [float(timestep(level, live, torch.zeros(1), (1,))) for level in live.levels]
    assert told == [1000.0, 936.0, 832.0, 624.0, 0.0]
    exact = [float(timestep(x, card("flashtalk-14b").schedule, torch.zeros(1), (1,)))
             for x in live.levels]  # fmt: skip
    assert exact == pytest.approx([1000.0, 937.5, 833.3333, 625.0, 0.0])


def test_denoising_steps_are_the_published_ones() -> None:
    schedule = Schedule(3, 5.0, "renoise", "float32")
    noises = [torch.randn(1, 2, 3, 1, 1) for _ in range(3)]
    known, seen = torch.full((1, 2, 1, 1, 1), 9.0), []

    def velocity(x: Tensor, step: int) -> Tensor:
        seen.append((x, step))
        return 0.5 * x + 1

    got = denoise(velocity, schedule, lambda draw: noises[draw], Known(known))
    x = noises[0].clone()
    for i, (sigma, after) in enumerate([(1.0, 10 / 11), (10 / 11, 5 / 7), (5 / 7, 0.0)]):
        x[:, :, :1] = 9.0
        assert torch.allclose(seen[i][0], x, atol=1e-5) and seen[i][1] == i
        x0 = x - sigma * (0.5 * x + 1)
        x = (1 - after) * x0 + after * (noises[i + 1] if after else 0)
    x[:, :, :1] = 9.0
    assert torch.allclose(got, x, atol=1e-5)


def guided(layout: str, text: float, audio: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The mixed field, and the fields it is made of: prompt and audio wanted (w) or not (u)."""
    torch.manual_seed(0)
    dit = small.dit(layout)
    x, t = torch.randn(1, dit.config.in_channels, 2, 4, 4), torch.tensor([500.0])
    features = torch.randn(1, 5, 14 if layout == "A" else 12)
    image = torch.randn(1, 257, 18) if layout == "B" else None

    def steps(f: Tensor):  # type: ignore[no-untyped-def]
        return group_frames(f) if layout == "A" else latent_steps(frame_windows(f, 5))

    prompts = Prompts(torch.randn(1, 5, 20), torch.randn(1, 3, 20))
    fields = {
        a + b: dit(x, t, dit.encode(p, image, steps(f)))
        for a, p in (("w", prompts.wanted), ("u", prompts.unwanted))
        for b, f in (("w", features), ("u", features * 0))
    }
    branches = guided_branches(dit, Guidance(text, audio), prompts, image, steps(features))
    return branches.mix([dit(x, t, told) for told in branches.conditions]), fields


@pytest.mark.parametrize("layout", ["A", "B"])
def test_guidance_mixes_its_branches_as_published(layout: str) -> None:
    mixed, f = guided(layout, 1.0, 1.0)
    assert small.relative(mixed, f["ww"]) < 1e-5
    mixed, f = guided(layout, 4.5, 4.5)
    assert small.relative(mixed, f["uu"] + 4.5 * (f["ww"] - f["uu"])) < 1e-5
    mixed, f = guided(layout, 5.0, 4.0)
    if layout == "A":
        wanted = f["uu"] + 5.0 * (f["wu"] - f["uu"]) + 4.0 * (f["ww"] - f["wu"])
    else:
        wanted = f["uu"] + 5.0 * (f["ww"] - f["uw"]) + 4.0 * (f["uw"] - f["uu"])
    assert small.relative(mixed, wanted) < 1e-5
