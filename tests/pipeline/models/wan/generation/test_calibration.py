"""What is learned for a checkpoint: within its bounds, and readable as its own file."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from pipeline.acceleration.profile import profile
from pipeline.attention.cache import Reuse
from pipeline.diffusion.guidance import change
from pipeline.models.wan.accelerate import accelerate
from pipeline.models.wan.generation.calibration import Learned, Sample, learn
from pipeline.models.wan.generation.chunked import (
    ChunkPerformance,
    GenerationSetup,
    GenerationState,
)
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.model_cards import Guidance
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score
from tests.pipeline.models.wan.generation.test_guided_velocity import GUIDED, STEPS


@cache
def samples(guidance: Guidance = GUIDED, reusable: bool = True) -> tuple[Sample, ...]:
    made = []
    for seed in range(3):
        run = replace(score(schedule=STEPS), guidance=guidance, seed=seed)
        torch.manual_seed(seed)
        prompts = Prompts(torch.randn(1, 5, 20), torch.randn(1, 3, 20))

        def start(
            pace: AccelerationPlan, run: GenerationSetup = run, prompts: Prompts = prompts
        ) -> GenerationState:
            return ChunkPerformance(replace(run, pace=pace), prompts, 2, 1)

        heard = (torch.randn(5, 14),)
        guided = guidance == GUIDED
        made.append(Sample(run.dit, 3, guided, reusable, start, heard))
    return tuple(made)


def test_the_learned_table_stays_within_its_budget_and_reuses_something() -> None:
    found = learn(samples(), saved=0.3, budget=0.05)
    errors = [
        change(s.clean(AccelerationPlan(reuse=found.reuse)), s.clean(AccelerationPlan()))
        for s in samples()
    ]
    assert sum(errors) / 3 <= 0.05
    assert found.reuse.reused > 0
    assert learn(samples(), saved=0.3, budget=0.0).reuse == Reuse.of(3, 6)


def test_a_trial_tells_what_reuse_at_that_step_alone_costs() -> None:
    sample = samples()[0]
    (chunk,) = sample.trials()
    last = chunk[-1]
    reused = sample.clean(AccelerationPlan(thresholds=(0.0, 0.0, math.inf)))
    exact = sample.clean(AccelerationPlan())
    assert last.change > 0
    field = last.error * STEPS.levels[2]  # x0 = x - t v: only the last step differs
    assert change(reused, exact) == pytest.approx(field, rel=0.9)


def test_every_chunk_of_every_sample_is_a_trial() -> None:
    sample = samples()[0]
    twice = replace(sample, heard=(*sample.heard, torch.randn(5, 14)))
    assert [len(chunk) for chunk in twice.trials()] == [2, 2]


def test_a_recipe_that_cannot_reuse_attention_is_not_tried() -> None:
    assert learn(samples(reusable=False), saved=0.3, budget=1.0).reuse == Reuse.of(3, 6)


def test_without_guidance_no_thresholds_are_learned() -> None:
    assert learn(samples(Guidance(1.0, 1.0)), 0.3, 0.0).thresholds == ()


def test_what_was_learned_is_read_back(tmp_path: Path) -> None:
    found = learn(samples(), saved=0.6, budget=0.05, scales=True)
    assert len(found.scales) == 6 * 8 and min(found.scales.values()) > 0
    assert not any(name.endswith(("cross_attn.k", "cross_attn.v")) for name in found.scales)
    (tmp_path / "acceleration.toml").write_text(found.toml())
    read = profile("cpu", tmp_path)
    assert read.linears_method == "int8-static"
    accelerate(small.dit("A"), small.vae(4, 16), read, "cpu")
    assert read.guidance_thresholds == found.thresholds and math.inf in found.thresholds
    assert read.reuse_steps == found.reuse.steps
    assert read.linears_scales == pytest.approx(found.scales, rel=1e-5)
    assert Learned((), Reuse.of(2, 2), {}).toml() == ""
