"""What streams take beside weights: traced at full size, and enough for what really happens."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from unittest import mock

import pytest
import torch

import pipeline.models.wan.checkpoint.memory as memory
from pipeline.acceleration.memory_trace import FlashShapes, Ledger, allocated
from pipeline.acceleration.offload import least_budget, plan_resident
from pipeline.acceleration.profile import Acceleration, profile
from pipeline.errors import ModelTooLarge
from pipeline.models.wan.checkpoint.memory import Budget, MemoryPlan, plan_memory
from pipeline.models.wan.checkpoint.working_memory import (
    DEPTH,
    Demand,
    Working,
    _forward,
    _inputs,
    _levels,
    shadow,
    transformer_bytes,
    working_memory,
)
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.model_cards import card
from pipeline.models.wan.vae.autoencoder import published_vae
from pipeline.models.wan.warmup import _nobody, _until_all_is_seen
from tests.pipeline.models.test_inspect import PUBLISHED
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.whole import SIZE, model

GIB = 2**30
MEASURED = {"autoencoder": int(0.24 * GIB), "speech encoder": int(0.38 * GIB),
            "picture encoder": int(1.2 * GIB)}  # fmt: skip
OUTSIDE = Budget({"transformer": 35 * GIB, "prompt encoder": 11 * GIB, **MEASURED}, {})


def demand(name: str = "flashtalk-14b", how: Acceleration | None = None) -> Demand:
    parts = model(name)
    return Demand(parts.card, parts.dit.config, small.vae_config(4, 16), how or Acceleration(),
                  torch.bfloat16, SIZE)  # fmt: skip


def full(fused: bool = True) -> Demand:
    return Demand(card("flashtalk-14b"), PUBLISHED["B-14B"], published_vae(), profile("gpu-24gb"),
                  torch.bfloat16, (448, 768), fused)  # fmt: skip


def test_a_ledger_counts_what_is_made_while_it_is_referred_to() -> None:
    before = torch.empty(1000, device="meta")
    with Ledger() as ledger:
        one = before + 1
        view = one.view(10, 100)
        assert ledger.live == allocated(4000)
        del one
        assert ledger.live == allocated(4000)  # the view still holds it
        two = torch.empty(2**20, device="meta")
        del view, two
        _ = before.view(10, 100)
        assert ledger.live == 0
    assert ledger.peak == allocated(4000) + allocated(4 * 2**20)


@pytest.mark.parametrize(
    ("size", "taken"), [(1, 512), (513, 1024), (2**20, 2**20), (2**20 + 1, 2**21)]
)
def test_allocations_are_rounded_as_the_device_rounds_them(size: int, taken: int) -> None:
    assert allocated(size) == taken


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("flashtalk-14b", {}),
        ("livetalk-1.3b", {}),
        ("livetalk-1.3b", {"streams_together": 2}),
        ("omniavatar-1.3b", {"guidance_batched": True}),
    ],
)
def test_what_is_told_covers_what_a_performance_allocates(
    name: str, changes: dict[str, object]
) -> None:
    wanted = demand(name, replace(Acceleration(), **changes))  # type: ignore[arg-type]
    quick = replace(wanted.card, schedule=replace(wanted.card.schedule, steps=2, at=()))
    wanted = replace(wanted, card=quick)
    dit, told = shadow(wanted, wanted.config.depth), working_memory(wanted)
    streams = wanted.how.streams_together
    with torch.no_grad(), FlashShapes(), Ledger() as ledger:
        cast = [_nobody(dit, quick, AccelerationPlan(batched=wanted.how.guidance_batched), SIZE, 1)
                for _ in range(streams)]  # fmt: skip
        _until_all_is_seen(cast, wanted.config.audio.channels)  # type: ignore[union-attr]
    assert ledger.peak <= told.conditions + told.past + told.temporaries
    assert told.past == 0 or name == "livetalk-1.3b"


def test_host_memory_that_pinning_rounds_up_is_refused_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of five bytes are pinned in eight: more than the weights that they are made of."""
    monkeypatch.setattr(memory, "free_memory", lambda _: 110)
    fixed = Budget({"transformer": 80, "prompt encoder": 10}, {"transformer": 80,
                                                               "prompt encoder": 10})  # fmt: skip
    MemoryPlan((), {}, pinned=100).check_host(fixed, "cuda")
    with pytest.raises(ModelTooLarge, match="pinning"):
        MemoryPlan((), {}, pinned=101).check_host(fixed, "cuda")
    assert memory._pinned([5, 5, 5, 5], 10) == 4 * 8
    assert memory._pinned([5, 5, 5, 5], 15) == 3 * 8


def test_more_streams_take_more_of_everything() -> None:
    asked = [demand("livetalk-1.3b", Acceleration(streams_together=n)) for n in (1, 2)]
    one, two = map(working_memory, asked)
    told = [working_memory(each).conditions - _levels(each) for each in asked]
    assert told[1] > 2 * told[0]  # a batch lays them side by side
    assert two.past == 2 * one.past > 0 and two.decoder_past == 2 * one.decoder_past > 0


@cache
def traced(size: tuple[int, int]) -> tuple[Demand, Working]:
    """What is planned with at a size; to trace it takes a second or two."""
    asked = replace(demand(how=Acceleration(offload_gib=1.0)), size=size)
    return asked, working_memory(asked)


def plan(limit: float, sizes: tuple[tuple[int, int], ...] = (SIZE,)) -> MemoryPlan:
    fixed = Budget({"transformer": 10**9, "autoencoder": 1000}, {})
    asked = [traced(size)[0] for size in sizes]
    with mock.patch.object(memory, "working_memory", lambda one: traced(one.size)[1]):
        return plan_memory(fixed, asked, int(limit), "cuda")


def test_blocks_get_what_everything_else_leaves() -> None:
    limit = GIB
    working, (outside, _) = working_memory(demand()), transformer_bytes(demand())
    assert plan(limit).blocks[True] == limit - working.total - outside - 1000


def test_what_does_not_fit_is_refused_part_by_part() -> None:
    with pytest.raises(ModelTooLarge) as refusal:
        plan(10**6)
    for part in ("transformer beside its blocks", "autoencoder", "conditions", "decoder's past",
                 "temporaries", "libraries", "least of the blocks"):  # fmt: skip
        assert part in str(refusal.value)


def test_a_size_that_does_not_fit_leaves_the_smaller_ones() -> None:
    large = (SIZE[0] * 16, SIZE[1] * 16)
    both = plan(GIB, (large, SIZE))
    assert both.sizes == (large, SIZE)
    need = GIB - plan(GIB).blocks[True] + least_budget(transformer_bytes(demand())[1])
    assert plan(need, (large, SIZE)).sizes == (SIZE,)


@pytest.mark.slow
def test_the_24_gb_profile_uses_nine_tenths_of_its_budget_and_never_exceeds_it() -> None:
    """At full size: nineteen billion parameters, 448x768, and no byte of them."""
    whole, limit = full(), int(profile("gpu-24gb").offload_gib * GIB)
    outside, sizes = transformer_bytes(whole)
    left = plan_memory(OUTSIDE, [whole], limit, "cuda").blocks[True]
    held = plan_resident(sizes, left)
    blocks = sum(sizes[i] for i in held) + 2 * max(s for i, s in enumerate(sizes) if i not in held)
    working = working_memory(whole)
    assert len(held) >= 20 and 0 in held
    assert blocks + outside + working.total + sum(MEASURED.values()) <= limit
    assert blocks >= 0.9 * left
    # all forty blocks, one after another, in a simulated allocator instead of three multiplied
    dit, (x, text, image, audio) = shadow(whole, 40), _inputs(whole, 1)
    with torch.no_grad(), FlashShapes(), Ledger() as ledger:
        hints = dit.encode(text, image, audio)
        dit(x, dit.modulation(x.new_zeros(1)), hints)
    assert ledger.peak <= working.conditions + working.temporaries
    used = blocks + outside + sum(MEASURED.values()) + working.decoder_past
    assert 0.9 * limit <= used + working.conditions + working.temporaries + 2**28 <= limit


@pytest.mark.slow
def test_linears_whose_passes_are_apart_take_more() -> None:
    assert _forward(full(False))[1] > 1.2 * _forward(full())[1]
    assert DEPTH == 3
