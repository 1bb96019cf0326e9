"""What holds a checkpoint's chunks together: agreement, prompts, guidance, noise at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.models.wan.generation.chunked import (
    ChunkPerformance,
    GenerationSetup,
    GenerationState,
    RingPerformance,
)
from pipeline.models.wan.generation.denoise import Branches, Prompts, guided_branches
from pipeline.models.wan.generation.forward import ForwardRequest, answer
from pipeline.models.wan.generation.merged_past import MergedPerformance
from pipeline.models.wan.generation.rolling_window import RollingPerformance
from pipeline.models.wan.model_cards import CARDS, Guidance, Recipe, Schedule, read_card
from pipeline.models.wan.network.audio_conditioning import group_frames
from pipeline.models.wan.network.condition import Reference
from pipeline.models.wan.network.kv_ring import KvRing
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score

NOBODY = Prompts(torch.zeros(1, 1, 20), torch.zeros(1, 1, 20))


def staged(layout: str, schedule: Schedule, latents: int) -> GenerationSetup:
    run = score(layout=layout, schedule=schedule)
    if layout == "A":
        return run
    torch.manual_seed(9)
    clip, tokens = torch.randn(1, 16, latents, 4, 4), torch.randn(1, 257, 18)
    return replace(run, reference=Reference(run.reference.latent, clip, tokens))


def asked(performance: GenerationState) -> tuple[list[tuple[ForwardRequest, Tensor]], Tensor]:
    """What a turn asks for, what it is answered, and its latents; speech is noise."""
    span, channels = performance.span(), performance._score.dit.config.audio.channels  # type: ignore[attr-defined]  # fmt: skip
    turn = performance.turn(torch.randn(span.stop - span.start, channels))
    asks: list[tuple[ForwardRequest, Tensor]] = []
    with torch.no_grad():
        ask = next(turn)
        while True:
            asks.append((ask, answer(ask)))
            try:
                ask = turn.send(asks[-1][1])
            except StopIteration as end:
                return asks, end.value.latents


@pytest.mark.parametrize("layout", ["A", "B"])
@pytest.mark.parametrize("sampler", ["euler", "renoise"])
def test_chunks_of_a_window_agree_after_every_step(layout: str, sampler: str) -> None:
    steps = Schedule(3, 5.0, sampler, "float32")
    performance = ChunkPerformance(staged(layout, steps, 6), NOBODY, 6, 2, window=3)
    for _ in range(2):
        asks, _ = asked(performance)
        assert [len(ask.x) for ask, _ in asks] == [3, 3, 3]
        for ask, velocity in asks:
            x = ask.x[:, :16]
            for k in range(2):
                assert torch.equal(x[k, :, -2:], x[k + 1, :, :2])
                assert small.relative(velocity[k, :, -2:], velocity[k + 1, :, :2]) > 0.01


def test_what_chunks_share_is_a_weighted_mean_of_their_fields() -> None:
    steps = Schedule(2, 5.0, "euler", "float32")
    performance = ChunkPerformance(staged("A", steps, 6), NOBODY, 6, 3, window=2)
    (first, velocity), (second, _) = asked(performance)[0]
    after = steps.levels[1]
    x0 = first.x[:, :16] - velocity
    later = torch.sin((torch.arange(3) + 0.5) * torch.pi / 6)[:, None, None] ** 2
    mean = (1 - later) * x0[0, :, -3:] + later * x0[1, :, :3]
    expected = mean + (first.x[0, :16, -3:] - mean) * after
    torch.testing.assert_close(second.x[0, :16, -3:], expected, atol=1e-4, rtol=1e-4)


def test_a_window_gives_the_latents_on_which_its_chunks_agreed() -> None:
    steps = Schedule(2, 5.0, "euler", "float32")
    performance = ChunkPerformance(staged("A", steps, 6), NOBODY, 6, 2, window=2)
    (_, (last, velocity)), latents = asked(performance)
    x0 = last.x[:, :16] - steps.levels[1] * velocity
    later = torch.sin((torch.arange(2) + 0.5) * torch.pi / 4)[:, None, None] ** 2
    mean = (1 - later) * x0[0, :, -2:] + later * x0[1, :, :2]
    torch.testing.assert_close(latents[0, :, 4:6], mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents[0, :, 6:], x0[1, :, 2:], atol=1e-4, rtol=1e-4)


MEMORY = Recipe("memory", block=8, window=14, sink=2, newest=2, merge=5, frames=53)
PERFORMANCES: dict[str, Callable[[], GenerationState]] = {
    "ring": lambda: RingPerformance(
        staged("A", Schedule(2, 5.0, "renoise", "float32"), 2), NOBODY, 2, KvRing(5, 2)
    ),
    "chunks": lambda: ChunkPerformance(
        staged("B", Schedule(2, 5.0, "renoise", "float32"), 4), NOBODY, 4, 2
    ),
    "rolling": lambda: RollingPerformance(
        staged("A", Schedule(2, 5.0, "renoise", "float32"), 2), NOBODY, 2, 6
    ),
    "memory": lambda: MergedPerformance(
        staged("B", Schedule(2, 5.0, "euler", "float32"), 14), NOBODY, MEMORY
    ),
}


@pytest.mark.parametrize("kind", PERFORMANCES)
def test_a_changed_prompt_is_told_to_every_pass_of_the_next_chunk(kind: str) -> None:
    performance = PERFORMANCES[kind]()
    dit = performance._score.dit  # type: ignore[attr-defined]
    asked(performance)
    for seed in (1, 2):
        torch.manual_seed(seed)
        words = torch.randn(1, 5, 20)
        performance.prompts = Prompts(words, words)
        padded = torch.nn.functional.pad(words, (0, 0, 0, dit.config.text_tokens - 5))
        key, value = dit.blocks[3].cross_attn.prepare_text(dit.text_embedding(padded))
        for ask, _ in asked(performance)[0]:
            assert torch.equal(ask.conditions[3].text[0], key.expand(len(ask.x), -1, -1, -1))
            assert torch.equal(ask.conditions[3].text[1], value.expand(len(ask.x), -1, -1, -1))


@pytest.mark.parametrize("kind", PERFORMANCES)
def test_chunks_start_from_noise_of_the_schedules_spread(kind: str) -> None:
    plain, wide = PERFORMANCES[kind](), PERFORMANCES[kind]()
    loud = wide._score  # type: ignore[attr-defined]
    wide._score = replace(loud, schedule=replace(loud.schedule, spread=1.5))  # type: ignore[attr-defined]  # fmt: skip
    noisy = [next(ask.x for ask, _ in asked(run)[0] if ask.x.shape[2] > 1) for run in (plain, wide)]
    first = 1 if kind in ("ring", "chunks") else 0  # latent 0 is the picture there
    assert torch.equal(noisy[1][:, :16, first:], 1.5 * noisy[0][:, :16, first:])
    assert torch.equal(loud.noise(3, 2, 1), wide._score.noise(3, 2, 1))  # type: ignore[attr-defined]  # fmt: skip


@pytest.mark.parametrize("layout", ["A", "B"])
@pytest.mark.parametrize("scales", [(4.5, 4.5), (5.0, 4.0)])
def test_rescaled_guidance_has_the_spread_of_the_conditional_field(
    layout: str, scales: tuple[float, float]
) -> None:
    run = staged(layout, Schedule(2, 5.0, "euler", "float32"), 2)
    audio: Tensor | tuple[Tensor, Tensor] = group_frames(torch.randn(1, 5, 14))
    if layout == "B":
        audio = (torch.randn(1, 1, 5, 12), torch.randn(1, 1, 8, 12))
    tokens = run.reference.tokens
    lots = [guided_branches(run.dit, Guidance(*scales, rescale=share), NOBODY, tokens, audio)
            for share in (0.0, 0.5, 1.0)]  # fmt: skip
    fields = [torch.randn(2, 16, 2, 4, 4) * (k + 1) for k in range(len(lots[0].conditions))]
    plain, half, whole = (branches.mix(fields) for branches in lots)
    spread = [x.std((1, 2, 3, 4)) for x in (fields[0], plain, half, whole)]
    torch.testing.assert_close(spread[3], spread[0])
    torch.testing.assert_close(spread[2], (spread[0] + spread[1]) / 2)
    assert Branches([[]], (1.0,), 1.0).mix(fields[:1]) is fields[0]


def test_a_card_may_name_its_levels_the_spread_of_its_noise_and_a_rescale(tmp_path: Path) -> None:
    text = (CARDS / "omniavatar-1.3b.toml").read_text("utf-8")
    text = text.replace("steps = 50", "steps = 3\nat = [1.0, 0.6, 0.3]\nspread = 1.1")
    text = text.replace("audio = 4.5", "audio = 4.5\nrescale = 0.7")
    (tmp_path / "own.toml").write_text(text, "utf-8")
    made = read_card(tmp_path / "own.toml")
    assert made.schedule.levels == pytest.approx((1.0, 15 / 17, 15 / 22, 0.0))
    assert (made.schedule.spread, made.guidance.rescale) == (1.1, 0.7)
