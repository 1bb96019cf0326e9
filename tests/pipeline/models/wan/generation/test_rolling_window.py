"""A rolling window: rising noise, one clean block a turn, and what the ring holds meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.attention.cache import Reuse
from pipeline.diffusion.sampling import latent_noise
from pipeline.errors import ModelMismatch
from pipeline.models.wan.accelerate import Applied
from pipeline.models.wan.generation.batching import together
from pipeline.models.wan.generation.chunked import GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.forward import ForwardRequest
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.generation.rolling_window import RollingPerformance
from pipeline.models.wan.model_cards import Guidance, Schedule, card
from pipeline.models.wan.network.audio_conditioning import group_frames
from pipeline.models.wan.network.condition import beside, frames_of
from pipeline.models.wan.network.kv_ring import KvRing
from pipeline.models.wan.pipeline import WanPipeline
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score
from tests.pipeline.models.wan.turns import retried, taken
from tests.pipeline.models.wan.whole import model

STEPS = Schedule(3, 5.0, "renoise", "float32", at=(1.0, 0.6, 0.2))
SIGMAS = (1.0, 3 / 3.4, 1 / 1.8)


def rolling(run: GenerationSetup | None = None, past: int = 1) -> RollingPerformance:
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    return RollingPerformance(run or score(schedule=STEPS), prompts, 2, 1 + past + 6)


def asked(
    performance: RollingPerformance, turns: int
) -> tuple[list[list[ForwardRequest]], list[Tensor]]:
    """What each turn asked for, and the clean latents that it gave; any speech."""
    asks, fresh = [], []
    torch.manual_seed(4)
    for _ in range(turns):
        span = performance.span()
        seen, made = taken(performance.turn(torch.randn(span.stop - span.start, 14)))
        asks.append(seen)
        fresh.append(made.latents)
    return asks, fresh


def test_one_clean_block_leaves_at_every_turn_and_costs_one_forward() -> None:
    run = score(schedule=STEPS)
    asks, fresh = asked(rolling(run), 4)
    assert [latents.shape[2] for latents in fresh] == [3, 2, 2, 2]
    assert torch.equal(fresh[0][:, :, :1], run.reference.latent)
    windows = [[ask.x.shape[2] for ask in turn if not ask.keep] for turn in asks]
    assert windows == [[2, 4, 6], [6], [6], [6]], "the window fills up once, then it rolls"
    assert [[ask.x.shape[2] for ask in turn if ask.keep] for turn in asks] == [
        [1, 2],
        [2],
        [2],
        [2],
    ]


def test_the_latents_of_a_window_carry_rising_noise() -> None:
    run = score(schedule=STEPS)
    performance = rolling(run)
    told = [run.dit.modulation(torch.tensor([[1000.0 * level] * 2])) for level in (*SIGMAS, 0.0)]
    asks, _ = asked(performance, 2)
    full = asks[1][0].mod.head
    for place, level in enumerate((2, 1, 0)):  # oldest first
        expected = told[level].head
        assert torch.allclose(full[:, 2 * place : 2 * place + 2], expected, atol=1e-5)
    kept = asks[1][-1]
    assert kept.keep and torch.allclose(kept.mod.head[:, :1], told[3].head[:, :1], atol=1e-6)


def test_speech_is_heard_as_far_ahead_as_the_window_reaches() -> None:
    performance = rolling()
    spans = []
    for _ in range(3):
        span = performance.span()
        spans.append((span.start, span.stop))
        performance.advance(torch.randn(span.stop - span.start, 14))
    assert spans == [(0, 25), (9, 33), (17, 41)]
    assert (performance.hop, performance.ahead) == (8, 16)
    shown = [frames_of(3), frames_of(5), frames_of(7)]
    assert [stop - performance.ahead for _, stop in spans] == shown


def test_the_past_lies_directly_before_whatever_is_denoised_and_never_grows() -> None:
    performance = rolling(past=1)
    asks, _ = asked(performance, 30)
    assert [len(ask.places) - ask.x.shape[2] for ask in asks[0]] == [0, 1, 1, 1, 1]
    for turn in asks[5:]:
        for ask in turn:
            assert ask.ring is not None
            past = ask.ring.past(0, ask.x.shape[2])
            tokens = ask.x.shape[3] * ask.x.shape[4] // 4
            assert past is not None and past[0].shape[2] == 2 * tokens, "the sink and one latent"
            assert ask.places == tuple(range(2 + ask.x.shape[2]))


def plain(
    run: GenerationSetup, prompts: Prompts, features: Tensor, turns: int, past: int
) -> Tensor:
    """The published loop, written out over all latents with a ring of rotated times."""
    dit, sigmas, count = run.dit, SIGMAS, len(SIGMAS)
    told = dit.encode(prompts.wanted, audio=group_frames(features[None]))
    blocks = turns + count - 1
    x = torch.cat([latent_noise(5, 1 + 2 * b, (16, 2, 4, 4), 0)[None] for b in range(blocks)], 2)
    ring = KvRing(1 + past + 2, 1)
    side = beside(dit.config, run.reference, torch.arange(1 + 2 * blocks) == 0)

    def forward(latents: Tensor, start: int, levels: list[float], keep: bool) -> Tensor:
        size = latents.shape[2]
        wide = ring if keep else replace(ring, window=100)
        if not keep and len(ring.times) > 1 + past:  # as its program cuts the past for a window
            held = [0, *range(len(ring.times) - past, len(ring.times))]
            tokens = ring.blocks[0][0].shape[2] // len(ring.times)
            index = torch.tensor([h * tokens + i for h in held for i in range(tokens)])
            wide = KvRing(100, 1)
            wide.times = list(held)
            wide.blocks = [(k[:, :, index], v[:, :, index]) for k, v in ring.blocks]
        part = [replace(h, added=None if h.added is None else h.added[:, start : start + size])
                for h in told]  # fmt: skip
        t = torch.tensor([[1000 * level for level in levels for _ in range(size // len(levels))]])
        joined = torch.cat([latents, side[:, :, start : start + size]], dim=1)
        return dit(joined, t, part, start=start, ring=wide, keep=keep)

    forward(run.reference.latent, 0, [0.0], keep=True)
    out = [run.reference.latent]
    for newest in range(blocks):
        oldest = max(newest - count + 1, 0)
        levels = [sigmas[newest - b] for b in range(oldest, newest + 1)]
        window = x[:, :, 2 * oldest : 2 * newest + 2]
        v = forward(window, 1 + 2 * oldest, levels, keep=False)
        sigma = torch.tensor(levels).repeat_interleave(2).view(1, 1, -1, 1, 1)
        x0 = window - sigma * v
        for i, b in enumerate(range(oldest, newest + 1)):
            mine, step = x0[:, :, 2 * i : 2 * i + 2], newest - b + 1
            if step == count:
                out.append(mine)
                forward(mine, 1 + 2 * b, [0.0], keep=True)
            else:
                fresh = latent_noise(5, 1 + 2 * b, (16, 2, 4, 4), step)[None]
                x[:, :, 2 * b : 2 * b + 2] = (1 - sigmas[step]) * mine + sigmas[step] * fresh
    return torch.cat(out, dim=2)


def test_a_rolling_run_equals_the_published_loop_written_out() -> None:
    run = score(schedule=STEPS)
    performance = rolling(run, past=1)
    features = torch.randn(frames_of(1 + 2 * 7), 14)
    ours = []
    for _ in range(5):
        span = performance.span()
        ours.append(performance.advance(features[span.start : span.stop]).latents)
    theirs = plain(run, performance.prompts, features, 5, past=1)
    assert small.relative(torch.cat(ours, dim=2), theirs) < 1e-4


def test_the_card_gives_the_published_window() -> None:
    found = card("avatarforcing-1.3b")
    assert found.schedule.levels == pytest.approx(
        (1.0, 0.952381, 0.769231, 0.555556, 0.0), abs=1e-6
    )
    assert (found.recipe.block, found.recipe.window, found.recipe.sink) == (4, 19, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": Schedule(3, 5.0, "euler", "float32")}, "re-noising, not layout A and euler"),
        ({"dit": small.dit("B")}, "not layout B"),
    ],
)
def test_what_cannot_roll_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rolling(replace(score(schedule=STEPS), **changes))  # type: ignore[arg-type]


def test_a_window_without_room_and_guidance_are_refused() -> None:
    with pytest.raises(ValueError, match="3 blocks of 2 do not fit into 6 beside a sink of 1"):
        rolling(past=-1)
    performance = rolling(replace(score(schedule=STEPS), guidance=Guidance(4.5, 4.5)))
    with pytest.raises(ValueError, match="guidance must be 1"):
        performance.advance(torch.zeros(25, 14))


def test_rolling_streams_are_one_batch_and_get_what_they_get_alone() -> None:
    def runs() -> list[RollingPerformance]:
        whole = [rolling(replace(score(schedule=STEPS), seed=seed)) for seed in range(3)]
        whole[2].advance(torch.ones(25, 14))  # further than the others
        return whole

    def turns(some: list[RollingPerformance], most: int) -> list[Tensor]:
        work = [run.turn(torch.full((run.span().stop - run.span().start, 14), 0.1 * i))
                for i, run in enumerate(some)]  # fmt: skip
        return [fresh.latents for fresh in together(work, most)]

    torch.manual_seed(0)
    one_by_one = runs()
    torch.manual_seed(0)
    joined = runs()
    for _ in range(3):
        for mine, ours in zip(turns(one_by_one, 1), turns(joined, 4), strict=True):
            assert small.relative(ours, mine) < 1e-5


def test_a_turn_that_was_given_up_can_be_taken_again() -> None:
    def turns(first: tuple[int, ...], others: tuple[int, ...]) -> list[Tensor]:
        torch.manual_seed(6)
        run = rolling(replace(score(schedule=STEPS), seed=1))
        return retried(run, 14, [first, others, others, others])

    for whole, broken in zip(turns((), ()), turns((1, 2, 3, 2), (1, 2)), strict=True):
        assert small.relative(broken, whole) < 1e-6


@pytest.mark.parametrize(
    ("name", "pace", "message"),
    [
        (
            "avatarforcing-1.3b",
            AccelerationPlan(thresholds=(0.0, 0.1, 0.1, 0.1)),
            "the schedule has 1",
        ),
        (
            "liveact-18b",
            AccelerationPlan(reuse=Reuse(("FFFF", "FRFR", "FRFR"))),
            "attention is never reused",
        ),
    ],
)
def test_tables_that_a_recipe_cannot_follow_are_refused_when_it_is_loaded(
    name: str, pace: AccelerationPlan, message: str
) -> None:
    with pytest.raises(ModelMismatch, match=message):
        WanPipeline(model(name), applied=Applied(pace))
