"""Both schedules are one arithmetic, and chunks of a linear flow agree with one long chunk."""

import math
from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.chunks import Chunk
from pipeline.diffusion.context import Timeline
from pipeline.diffusion.continuum import OverlapTrace
from pipeline.models.mini.chunk_plan import Plan, causal_plan, parallel_plan
from pipeline.models.mini.config import ModelConfig, load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.guided_velocity import GuidedVelocity

BASE = load_config("mini")
CHANNELS = BASE.vae.channels


class LinearFlow:
    """A flow whose clean latents are a linear function of the audio under each of them."""

    parts = 5

    def __init__(self, sees_neighbours: bool = False) -> None:
        torch.manual_seed(0)
        self.weight = torch.randn(BASE.audio.embed_dim, CHANNELS * 5) / 14
        self.forwards: list[int] = []
        self.reused: list[set[int]] = []
        self.sees_neighbours = sees_neighbours

    def condition(self, c):
        past = c.context.shape[2]
        target = (c.audio * c.audio_known[..., None])[:, past:] @ self.weight
        target = target.unflatten(-1, (CHANNELS, 1, 5)).transpose(1, 2)
        if self.sees_neighbours:
            target = target + target.mean(dim=2, keepdim=True)
        return target

    def velocity(self, x, level, target, reuse=()):
        self.forwards.append(len(x))
        self.reused.append(set(reuse))
        return (x - target) / level


def config(**chunks) -> ModelConfig:
    """The bundled sizes, with a speculative tail unless told otherwise."""
    return replace(BASE, chunks=replace(BASE.chunks, **{"live_tail": 3, **chunks}))


def performance(c: ModelConfig, strength=(0.0, 0.0, 0.0), latents: int = 200) -> GenerationState:
    torch.manual_seed(3)
    p = GenerationState(c, torch.zeros(3), torch.zeros(2, 4), 5, OverlapTrace(strength))
    p.audio.append(torch.randn(latents, c.audio.embed_dim))
    return p


def denoiser(c: ModelConfig, flow: LinearFlow | None = None) -> Denoiser:
    return Denoiser(GuidedVelocity(flow or LinearFlow(), c, torch.zeros(2, 4)))


def test_overlapped_chunks_of_a_linear_flow_agree_with_one_long_chunk():
    c = config(length=8, overlap=4, window=5)
    d = denoiser(c)
    windowed = d.advance([performance(c)], [parallel_plan(c, 0, 24)])[0]
    whole = d.advance([performance(c)], [Plan([Chunk(0, 24, 0, 0)], 24, 24)])[0]
    torch.testing.assert_close(windowed, whole, atol=1e-5, rtol=1e-4)


def test_parallel_with_one_chunk_equals_causal_with_no_tail():
    c = config(length=6, overlap=0, window=1, live_hop=6, live_tail=0)
    d, flow = denoiser(c, LinearFlow(sees_neighbours=True)), 3
    a, b = performance(c), performance(c)
    for _ in range(flow):
        parallel = d.advance([a], [parallel_plan(c, a.position, None)])[0]
        causal = d.advance([b], [causal_plan(c, b.position)])[0]
        assert torch.equal(parallel, causal)


def test_k_chunks_take_three_batched_forwards():
    c, flow = config(), LinearFlow()
    denoiser(c, flow).advance([performance(c)], [parallel_plan(c, 0, None)])
    assert flow.forwards == [c.chunks.window] * 3


def test_streams_batched_together_perform_as_they_would_alone():
    c = config()
    d = denoiser(c, LinearFlow(sees_neighbours=True))
    strength = c.continuum.trace
    pair = [performance(c, strength), performance(c, strength)]
    pair[1].seed = 99
    alone = performance(c, strength)
    for _ in range(4):
        together = d.advance(pair, [causal_plan(c, p.position) for p in pair])
        torch.testing.assert_close(
            together[0], d.advance([alone], [causal_plan(c, alone.position)])[0]
        )


def test_a_speculation_pulls_posture_but_the_last_step_belongs_to_the_speech():
    c = config()
    flow = LinearFlow()
    d = denoiser(c, flow)
    p = performance(c, c.continuum.trace)
    d.advance([p], [causal_plan(c, 0)])
    assert len(causal_plan(c, p.position).chunks) == 2
    first = p.position
    shown = d.advance([p], [causal_plan(c, first)])[0]
    speech = p.audio.read(first, 1)[0] @ flow.weight
    torch.testing.assert_close(shown[:, 0].flatten(), speech[0], atol=1e-4, rtol=1e-4)


def test_windows_of_the_parallel_schedule_join_as_chunks_inside_them_do():
    c = config(length=8, overlap=4, window=2)
    d = denoiser(c, LinearFlow(sees_neighbours=True))
    p = performance(c, (1.0, 1.0, 1.0))
    joined = torch.cat(
        [d.advance([p], [parallel_plan(c, p.position, None)])[0] for _ in range(3)], 1
    )
    long = config(length=8, overlap=4, window=6)
    whole = denoiser(long, LinearFlow(sees_neighbours=True)).advance(
        [performance(long)], [parallel_plan(long, 0, None)]
    )[0]
    torch.testing.assert_close(joined, whole[:, : joined.shape[1]], atol=1e-4, rtol=1e-3)


def test_the_same_seed_gives_the_same_performance():
    c = config()
    d = denoiser(c)
    first = d.advance([performance(c)], [parallel_plan(c, 0, 40)])[0]
    assert torch.equal(first, d.advance([performance(c)], [parallel_plan(c, 0, 40)])[0])


def test_a_timeline_never_grows_and_tells_what_it_does_not_know():
    line = Timeline(torch.zeros(2, 1), 1, capacity=4)
    for i in range(10):
        line.append(torch.full((2, 1), float(i)))
    values, known = line.read(5, 7)
    assert known.tolist() == [False, True, True, True, True, False, False]
    assert values[0].tolist() == [0, 6, 7, 8, 9, 0, 0] and line.end == 10


@pytest.mark.parametrize("length", [1, 3])
def test_reading_before_the_beginning_gives_nothing(length):
    values, known = Timeline(torch.zeros(2, 1), 1, 4).read(-3, length)
    assert not known.any() and values.shape == (2, length)


def guided(scale: float, **switches) -> ModelConfig:
    c = config(live_tail=0)
    fast = replace(c.acceleration, **{"cfg_cache": (), "attention": (), **switches})
    return replace(c, guidance=replace(c.guidance, scale=scale), acceleration=fast)


@pytest.mark.parametrize(
    ("scale", "thresholds", "forwards"),
    [
        (1.0, (), 3), (2.0, (0.0, 1e-9, 1e-9), 6), (2.0, (0.0, math.inf, math.inf), 4),
        (2.0, (0.0, 0.0, math.inf), 5), (1.0, (0.0, math.inf, math.inf), 3),
    ],
)  # fmt: skip
def test_the_cfg_cache_spares_unconditional_passes(scale, thresholds, forwards):
    c = guided(scale, cfg_cache=thresholds)
    flow = LinearFlow()
    d = denoiser(c, flow)
    d.advance([performance(c)], [causal_plan(c, 0)])
    assert len(flow.forwards) == d.velocity.forwards == forwards
    assert d.velocity.reused == (0 if scale == 1.0 else 6 - forwards)


class Listener(LinearFlow):
    """Keeps the noise that the first step is given."""

    def velocity(self, x, level, target, reuse=()):
        if not self.forwards:
            self.noise = x.clone()
        return super().velocity(x, level, target, reuse)


def test_each_part_starts_from_noise_of_its_own_spread():
    c, spread, heard = config(), (1.0, 0.5, 2.0, 1.5, 3.0), []
    for values in ((1.0,), spread):
        p = performance(c)
        p.spread = torch.tensor(values)
        heard.append(Listener())
        denoiser(c, heard[-1]).advance([p], [causal_plan(c, 0)])
    plain, spreaded = (flow.noise for flow in heard)
    torch.testing.assert_close(spreaded, plain * torch.tensor(spread))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"causal": (1.0, 1.0)}, "causal must be 5 numbers"),
        ({"parallel": (1.0, 1.0, 0.0, 1.0, 1.0)}, "above 0"),
        ({"ease": (1.0, 1.0, 1.2, 1.0, 1.0)}, "at most 1"),
    ],
)
def test_motion_that_cannot_be_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(BASE.motion, **change)


def test_without_a_cfg_cache_both_branches_are_one_batch():
    made = []
    for thresholds in ((), (0.0, 1e-9, 1e-9)):
        c, flow = guided(2.0, cfg_cache=thresholds), LinearFlow()
        made.append(denoiser(c, flow).advance([performance(c)], [causal_plan(c, 0)])[0])
        assert flow.forwards == ([1] * 6 if thresholds else [2] * 3)
    torch.testing.assert_close(made[0], made[1])


def test_a_cfg_threshold_is_asked_every_step():
    small, large = (guided(2.0, cfg_cache=(0.0, bound, bound)) for bound in (1e-9, 1e9))
    passes = []
    for c in (small, large):
        d = denoiser(c)
        d.advance([performance(c)], [causal_plan(c, 0)])
        passes.append(d.velocity.forwards)
    assert passes == [6, 4]


def test_steps_name_the_blocks_that_reuse_attention():
    c = guided(1.0, attention=("FFFF", "FRRF", "RFFF"))
    flow = LinearFlow()
    denoiser(c, flow).advance([performance(c)], [causal_plan(c, 0)])
    assert flow.reused == [set(), {1, 2}, {0}]
