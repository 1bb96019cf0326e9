"""A merged past: a memory at every noise level, of constant size, old keys made few."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.diffusion.sampling import latent_noise
from pipeline.models.wan.generation.batching import together
from pipeline.models.wan.generation.chunked import GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.forward import ForwardRequest
from pipeline.models.wan.generation.merged_past import MergedPast, MergedPerformance, merge_weights
from pipeline.models.wan.model_cards import Recipe, Schedule, card
from pipeline.models.wan.network.audio_conditioning import frame_windows, latent_steps
from pipeline.models.wan.network.condition import Reference, beside_b
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score
from tests.pipeline.models.wan.turns import retried, taken

STEPS = Schedule(3, 5.0, "euler", "float32", of=4)
SIGMAS = (1.0, 0.9375, 5 / 6, 0.0)
SMALL = Recipe("memory", block=8, window=14, sink=2, newest=2, merge=5, frames=53)


def run_of(memory: int | None = 5) -> GenerationSetup:
    run = score(small.dit("B", memory=memory), "B", STEPS)
    torch.manual_seed(9)
    clip, tokens = torch.randn(1, 16, 14, 4, 4), torch.randn(1, 257, 18)
    return replace(run, reference=Reference(run.reference.latent, clip, tokens))


def performing(run: GenerationSetup) -> MergedPerformance:
    torch.manual_seed(2)
    return MergedPerformance(run, Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20)), SMALL)


def advanced(
    performance: MergedPerformance, features: Tensor
) -> tuple[list[ForwardRequest], Tensor]:
    span = performance.span()
    asks, fresh = taken(performance.turn(features[span.start : span.stop]))
    return asks, fresh.latents


def past_of(weights: Tensor, own: list[Tensor]) -> MergedPast:
    past = MergedPast(6, 2, 2, [weights])
    for i, x in enumerate(own):
        past.keep(i, x.shape[2] // 3, [(x, 2 * x)])
        past.go_on()
    return past


def test_old_keys_are_merged_five_by_five_between_the_first_and_the_newest_latents() -> None:
    torch.manual_seed(0)
    weights = torch.randn(2, 4, 5)
    first, second = torch.randn(1, 2, 18, 4), torch.randn(1, 2, 24, 4)  # 6 and 8 latents of 3
    past = past_of(weights, [first])
    assert past.held == 6 and torch.equal(past.blocks[0][0], first)
    past.keep(6, 8, [(second, 2 * second)])
    assert past.held == 6 and torch.equal(past.blocks[0][0], first), "not before the block is done"
    past.go_on()
    both = torch.cat([first, second], dim=2)
    merged = torch.stack([(both[:, :, 6 + 5 * i : 11 + 5 * i].transpose(2, 3) * weights).sum(-1)
                          for i in range(6)], dim=2)  # fmt: skip
    expected = torch.cat([both[:, :, :6], merged, both[:, :, -6:]], dim=2)
    assert past.held == 6 and torch.allclose(past.blocks[0][0], expected, atol=1e-6)
    assert torch.allclose(past.blocks[0][1], 2 * expected, atol=1e-6), "values by the same weights"
    assert past.places(10**6, 8).tolist() == list(range(14))


def test_the_memory_never_grows_and_keeps_its_first_latents() -> None:
    torch.manual_seed(0)
    blocks = [torch.randn(1, 2, 18, 4), *(torch.randn(1, 2, 24, 4) for _ in range(50))]
    past = past_of(torch.full((2, 4, 5), 0.2), blocks)
    k, _ = past.blocks[0]
    assert k.shape[2] == 18
    assert torch.equal(k[:, :, :6], blocks[0][:, :, :6])
    assert torch.equal(k[:, :, -6:], blocks[-1][:, :, -6:])


def test_without_weights_keys_are_merged_by_their_mean() -> None:
    assert torch.equal(merge_weights(small.dit("B"), 5)[0], torch.full((2, 24, 5), 0.2))
    model = small.dit("B", memory=5)
    weights = merge_weights(model, 5)
    assert torch.equal(
        weights[1].flatten(0, 1), model.blocks[1].self_attn.memory_proj_k.weight[:, 0]
    )
    with pytest.raises(ValueError, match="merges 4 keys, the weights 5"):
        merge_weights(model, 4)


def test_each_step_remembers_what_was_at_its_own_level_without_a_clean_pass() -> None:
    performance = performing(run_of())
    features = torch.randn(200, 12)
    for turn, latents in enumerate((6, 8, 8)):
        asks, fresh = advanced(performance, features)
        assert fresh.shape[2] == latents
        assert len(asks) == 3 and all(ask.keep for ask in asks), "one forward a level, no other"
        assert len({id(ask.ring) for ask in asks}) == 3
        assert all(ask.places == tuple(range(14 if turn else 6)) for ask in asks)
    deepest = [past.blocks[0][0] for past in performance._pasts]
    assert not torch.allclose(deepest[0], deepest[1]) and not torch.allclose(deepest[1], deepest[2])


def plain(run: GenerationSetup, prompts: Prompts, features: Tensor, blocks: int) -> Tensor:
    """The published loop, written out: keys of 14 latents a step, moved and merged in place."""
    dit, config = run.dit, run.dit.config
    caches: list[list[list[Tensor]]] = [[] for _ in SIGMAS[:-1]]
    assert run.reference.video is not None
    side, out = beside_b(run.reference.video), []
    tokens = 4
    for turn in range(blocks):
        count, at = (6, 0) if turn == 0 else (8, 6 + 8 * (turn - 1))
        windows = frame_windows(features[None], 5)
        if turn == 0:
            speech = latent_steps(windows[:, :21])
        else:
            first, later = latent_steps(windows[:, 4 * at - 4 : 4 * (at + count) - 3])
            speech = first[:, :0], later
        told = dit.encode(prompts.wanted, run.reference.tokens, speech)
        x = latent_noise(5, at, (16, count, 4, 4), 0)[None]
        for step, (level, after) in enumerate(zip(SIGMAS, SIGMAS[1:], strict=False)):
            ring = Slots(caches[step], dit, tokens, turn)
            part = side[:, :, :6] if turn == 0 else side[:, :, 6:]
            hints = [replace(h, deaf=int(turn == 0)) for h in told]
            v = dit(torch.cat([x, part], dim=1), torch.tensor([1000 * level]), hints,
                    start=0 if turn == 0 else 6, ring=ring, keep=True)  # fmt: skip
            x = x + (after - level) * v
        out.append(x)
    assert config.layout == "B"
    return torch.cat(out, dim=2)


class Slots:
    """Fourteen slots a block, as the published program holds them."""

    def __init__(
        self, cache: list[list[Tensor]], dit: torch.nn.Module, size: int, turn: int
    ) -> None:
        self.cache, self.dit, self.size, self.turn = cache, dit, size, turn
        if turn > 1:
            for i, pair in enumerate(cache):
                cache[i] = [self._aged(x, i) for x in pair]

    def _aged(self, x: Tensor, block: int) -> Tensor:
        """(B, H, 14 S, D) as (B, D, N) through the block's own convolution."""
        s, conv = self.size, self.dit.blocks[block].self_attn.memory_proj_k  # type: ignore[index,union-attr]

        def squeezed(a: int, b: int) -> Tensor:
            flat = x[:, :, a * s : b * s].permute(0, 1, 3, 2).flatten(1, 2)
            return conv(flat).unflatten(1, (x.shape[1], -1)).permute(0, 1, 3, 2)  # type: ignore[no-any-return,operator]

        return torch.cat([x[:, :, : 2 * s], squeezed(2, 7), squeezed(7, 12),
                          x[:, :, 12 * s : 14 * s]], dim=2)  # fmt: skip

    def places(self, start: int, fresh: int) -> Tensor:
        return torch.arange(start + fresh)

    def past(self, block: int, fresh: int) -> tuple[Tensor, Tensor] | None:
        return (self.cache[block][0], self.cache[block][1]) if self.cache else None

    def keep(self, start: int, fresh: int, own: list[tuple[Tensor, Tensor]]) -> None:
        for i, (k, v) in enumerate(own):
            if self.turn == 0:
                self.cache.append([k, v])
            else:
                self.cache[i] = [torch.cat(both, 2) for both in zip(self.cache[i], (k, v))]


def test_a_merged_run_equals_the_published_loop_written_out() -> None:
    run = run_of()
    performance = performing(run)
    features = torch.randn(125, 12)
    ours = torch.cat([advanced(performance, features)[1] for _ in range(4)], dim=2)
    assert small.relative(ours, plain(run, performance.prompts, features, 4)) < 1e-4


def test_the_first_latent_hears_nothing() -> None:
    model = small.dit("B")
    told = model.encode(torch.randn(1, 5, 20), torch.randn(1, 257, 18),
                        latent_steps(frame_windows(torch.randn(1, 9, 12), 5)))  # fmt: skip
    x = torch.randn(1, 12, 48)
    block, hint = model.blocks[0], told[0]
    mod = block.modulated(torch.zeros(1, 1, 6, 48))
    from pipeline.models.wan.network.block import Reach

    reach = Reach(model.table((1, 36, 3, 4, 4)), 3)
    hearing = block(x, mod, hint, reach)[0]
    deaf = block(x, mod, replace(hint, deaf=1), reach)[0]
    none = block(x, mod, replace(hint, audio=None), reach)[0]
    assert torch.allclose(deaf[:, :4], none[:, :4]) and torch.allclose(deaf[:, 4:], hearing[:, 4:])
    assert not torch.allclose(deaf[:, :4], hearing[:, :4])


def test_speech_of_a_block_reaches_two_frames_beyond_it() -> None:
    performance = performing(run_of())
    spans, features = [], torch.randn(200, 12)
    for _ in range(3):
        span = performance.span()
        spans.append((span.start, span.stop))
        advanced(performance, features)
    assert spans == [(0, 23), (19, 55), (51, 87)]
    assert (performance.hop, performance.ahead) == (32, 2)


def test_the_card_gives_the_published_memory() -> None:
    found = card("liveact-18b")
    assert found.recipe == SMALL
    assert found.schedule.levels == pytest.approx(SIGMAS) and found.schedule.sampler == "euler"
    assert "no licence file" in str(found.license)


def test_streams_with_merged_pasts_are_one_batch_and_get_what_they_get_alone() -> None:
    def runs() -> list[MergedPerformance]:
        return [performing(replace(run_of(), seed=seed)) for seed in range(3)]

    def turns(some: list[MergedPerformance], most: int) -> list[Tensor]:
        work = [run.turn(torch.full((run.span().stop - run.span().start, 12), 0.1 * i))
                for i, run in enumerate(some)]  # fmt: skip
        return [fresh.latents for fresh in together(work, most)]

    one_by_one, joined = runs(), runs()
    for _ in range(3):
        for mine, ours in zip(turns(one_by_one, 1), turns(joined, 4), strict=True):
            assert small.relative(ours, mine) < 1e-5


def test_a_turn_that_was_given_up_can_be_taken_again() -> None:
    def turns(*fails: int) -> list[Tensor]:
        torch.manual_seed(6)
        return retried(performing(run_of()), 12, [fails] * 4)

    for whole, broken in zip(turns(), turns(1, 2, 3), strict=True):
        assert small.relative(broken, whole) < 1e-6
