"""The cache of guidance: when a branch is reused, what it gives, and how thresholds are learned."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.diffusion.guidance import CfgCache, Trial, change, learn_thresholds


def test_thresholds_of_zero_and_infinity_are_decided_without_looking() -> None:
    cache = CfgCache([0.0, math.inf, 0.2])
    assert [cache.decided(i) for i in range(3)] == [False, True, None]


def test_a_branch_is_reused_while_the_field_has_moved_by_less_than_the_threshold() -> None:
    cache, field = CfgCache([0.0, 0.1]), torch.ones(1, 4)
    assert not cache.unchanged(1, field)
    cache.keep(field, [field - 0.5])
    assert cache.unchanged(1, field * 1.05) and not cache.unchanged(1, field * 1.2)


def test_reuse_keeps_what_the_branch_adds_to_the_conditional_field() -> None:
    cache = CfgCache([0.0, math.inf])
    first, later, other = torch.randn(3, 2, 5).unbind(0)
    cache.keep(first, [other])
    (again,) = cache.reuse(later)
    assert torch.allclose(again, later + (other - first))
    assert cache.reused == 1
    assert torch.allclose(cache.reuse(first)[0], other, atol=1e-6)


def test_change_is_relative_to_the_field_before() -> None:
    before = torch.full((3,), 2.0)
    assert change(before * 1.5, before) == pytest.approx(0.5)


@pytest.mark.parametrize("thresholds", [[], [0.1, 0.2], [0.0, -1.0]])
def test_thresholds_that_make_no_sense_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match="must be >= 0 and begin with 0"):
        CfgCache(thresholds)


def test_nothing_is_reused_before_anything_was_run() -> None:
    with pytest.raises(ValueError, match="no branch was run"):
        CfgCache([0.0, 1.0]).reuse(torch.zeros(1))


def skipped(thresholds: tuple[float, ...], samples: list[list[Trial]]) -> int:
    return sum(t.change < thresholds[i + 1] for s in samples for i, t in enumerate(s))


def test_learned_thresholds_skip_the_steps_that_cost_least() -> None:
    samples = [[Trial(0.1 + s / 100, 0.5), Trial(0.2 + s / 100, 0.01)] for s in range(10)]
    learned = learn_thresholds(samples, 1 / 3)
    assert learned == (0.0, 0.0, math.inf)
    assert skipped(learned, samples) == 10


@pytest.mark.parametrize("saved", [0.0, 0.2, 0.35, 0.5, 0.66])
def test_at_least_the_wanted_share_is_saved_and_hardly_more(saved: float) -> None:
    generator = torch.Generator().manual_seed(1)
    samples = [
        [Trial(*torch.rand(2, generator=generator).tolist()) for _ in range(2)] for _ in range(12)
    ]
    learned = learn_thresholds(samples, saved)
    assert skipped(learned, samples) == math.ceil(saved * 36 - 1e-9)


def test_more_than_can_be_saved_is_refused() -> None:
    with pytest.raises(ValueError, match="the first one always runs"):
        learn_thresholds([[Trial(0.1, 0.1)]], 0.6)
