"""What holds the bundled model's chunks together: agreement, past, schedule, guidance, trace.

The transformer is replaced by one that notes what it is told, so that a mechanism that is not wired
in is seen at once.
"""

from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.chunks import plan
from pipeline.diffusion.continuum import OverlapTrace, harmonise
from pipeline.diffusion.sampling import latent_noise
from pipeline.models.mini.chunk_plan import causal_plan, parallel_plan
from pipeline.models.mini.config import load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.guided_velocity import GuidedVelocity

BASE = load_config("mini")
CHANNELS, PARTS = BASE.vae.channels, 5
PLANS = {
    "parallel": lambda c, position: parallel_plan(c, position, None),
    "causal": lambda c, position: causal_plan(c, position),
}


class Noting:
    """Remembers conditions, latents and levels. Its clean latents are what the audio says under
    each of them and the prompt's mean; with ``neighbours`` also the chunk's mean, so that chunks
    disagree about what they share."""

    parts = PARTS

    def __init__(self, neighbours=False):
        torch.manual_seed(0)
        self.weight = torch.randn(BASE.audio.embed_dim, CHANNELS * PARTS) / 14
        self.neighbours = neighbours
        self.conditions, self.seen = [], []

    def target(self, audio):
        """(L, A) -> (C, L, 1, P)."""
        return (audio @ self.weight).unflatten(-1, (CHANNELS, 1, PARTS)).transpose(0, 1)

    def condition(self, c):
        self.conditions.append(c)
        past = c.context.shape[2]
        heard = (c.audio * c.audio_known[..., None])[:, past:]
        said = torch.stack([self.target(row) for row in heard])
        if self.neighbours:
            said = said + said.mean(dim=2, keepdim=True)
        return said + c.prompt.mean((1, 2))[:, None, None, None, None]

    def velocity(self, x, level, said, reuse=()):
        self.seen.append((x.clone(), level))
        return (x - said) / level


def config(**changes):
    chunks = replace(BASE.chunks, length=8, overlap=4, window=3, context=4, live_hop=2, live_tail=3)
    return replace(BASE, chunks=chunks, **changes)


def performance(c, trace=(0.0, 0.0, 0.0), heard=56):
    torch.manual_seed(3)
    p = GenerationState(c, torch.arange(3.0), torch.zeros(2, 4), 5, OverlapTrace(trace))
    p.audio.append(torch.randn(heard, c.audio.embed_dim))
    return p


def advance(c, flow, p, schedule):
    denoiser = Denoiser(GuidedVelocity(flow, c, torch.zeros(2, 4)))
    return denoiser.advance([p], [PLANS[schedule](c, p.position)])[0]


@pytest.mark.parametrize("schedule", PLANS)
def test_chunks_agree_after_every_step_about_what_they_share(schedule):
    c, flow = config(), Noting(neighbours=True)
    advance(c, flow, performance(c), schedule)
    chunks = PLANS[schedule](c, 0).chunks
    assert len(chunks) > 1 and len(flow.seen) == 3
    for x, _ in flow.seen:  # at first: the same noise; then: the same interpolated field
        for k in range(len(chunks) - 1):
            shared = chunks[k].stop - chunks[k + 1].start
            assert torch.equal(x[k][:, -shared:], x[k + 1][:, :shared])
    apart = flow.condition(flow.conditions[0])
    assert not torch.allclose(apart[0][:, -shared:], apart[1][:, :shared], atol=0.05)


@pytest.mark.parametrize("schedule", PLANS)
def test_what_is_shared_is_a_weighted_mean_of_both_chunks(schedule):
    c, flow = config(), Noting(neighbours=True)
    advance(c, flow, performance(c), schedule)
    chunks, said = PLANS[schedule](c, 0).chunks, flow.condition(flow.conditions[0])
    shared = chunks[0].stop - chunks[1].start
    places = (torch.arange(shared) + 0.5) / shared
    later = torch.sin(places * torch.pi / 2)[:, None, None] ** 2
    mean = (1 - later) * said[0][:, -shared:] + later * said[1][:, :shared]
    (first, level), (second, after) = flow.seen[:2]
    assert level == 1.0
    x0 = (second[0][:, -shared:] - after * first[0][:, -shared:]) / (1 - after)
    torch.testing.assert_close(x0, mean, atol=1e-4, rtol=1e-4)


def test_the_weights_of_an_overlap_sum_to_one():
    chunks = plan(0, 12, 8, 4)
    one, none = torch.ones(3, 8, 1, 5), torch.zeros(3, 8, 1, 5)
    earlier = harmonise(torch.stack([one, none]), chunks)
    later = harmonise(torch.stack([none, one]), chunks)
    torch.testing.assert_close((earlier + later)[0, :, 4:], one[:, 4:])
    expected = torch.sin((torch.arange(4) + 0.5) * torch.pi / 8) ** 2
    torch.testing.assert_close(later[0, 0, 4:, 0, 0], expected)


@pytest.mark.parametrize("schedule", PLANS)
def test_every_chunk_is_given_the_latents_before_it_and_told_which_are_known(schedule):
    c, flow = config(), Noting()
    p = performance(c)
    made = torch.zeros(CHANNELS, 0, 1, PARTS)
    for _ in range(4):
        start = p.position
        made = torch.cat([made, advance(c, flow, p, schedule)], dim=1)
        told = flow.conditions[-1]
        for row, chunk in enumerate(PLANS[schedule](c, start).chunks):
            for m in range(c.chunks.context):
                latent = chunk.start - c.chunks.context + m
                known = 0 <= latent < start
                assert bool(told.context_valid[row, m]) == known
                expected = made[:, latent] if known else torch.zeros_like(made[:, 0])
                assert torch.equal(told.context[row, :, m], expected)
    assert told.context_valid[0].all()


@pytest.mark.parametrize("schedule", PLANS)
def test_every_chunk_is_told_who_it_is_and_what_is_said_around_it(schedule):
    c, flow = config(), Noting()
    p = performance(c)
    advance(c, flow, p, schedule)
    start = p.position
    advance(c, flow, p, schedule)
    told, past = flow.conditions[-1], c.chunks.context
    for row, chunk in enumerate(PLANS[schedule](c, start).chunks):
        said, known = p.audio.read(chunk.start - past, past + chunk.length)
        assert torch.equal(told.audio[row], said) and torch.equal(told.audio_known[row], known)
        assert torch.equal(told.reference[row], p.reference)
        assert torch.equal(told.prompt[row], p.prompt)


def test_the_steps_are_those_of_the_shifted_schedule():
    c, flow = config(), Noting()
    advance(c, flow, performance(c), "parallel")
    assert [level for _, level in flow.seen] == pytest.approx([1.0, 10 / 11, 5 / 7])


def test_a_list_of_levels_replaces_even_spacing():
    c = config(schedule=replace(BASE.schedule, at=(1.0, 0.8, 0.4)))
    flow = Noting()
    advance(c, flow, performance(c), "parallel")
    assert [level for _, level in flow.seen] == pytest.approx([1.0, 20 / 21, 10 / 13])


@pytest.mark.parametrize("schedule", PLANS)
@pytest.mark.parametrize("sampler", ["euler", "renoise"])
def test_noise_is_drawn_by_seed_step_and_absolute_latent(schedule, sampler):
    c, flow = config(schedule=replace(BASE.schedule, sampler=sampler)), Noting()
    p = performance(c)
    for _ in range(2):
        start = p.position
        advance(c, flow, p, schedule)
    said = harmonise(flow.condition(flow.conditions[-1]), PLANS[schedule](c, start).chunks)
    for row, chunk in enumerate(PLANS[schedule](c, start).chunks):
        for step, (x, level) in enumerate(flow.seen[-3:]):
            draw = step if sampler == "renoise" else 0
            noise = latent_noise(5, 0, (CHANNELS, chunk.stop, 1, PARTS), draw)[:, chunk.start :]
            expected = (1 - level) * said[row] + level * noise
            torch.testing.assert_close(x[row], expected, atol=1e-4, rtol=1e-4)


def test_guidance_leads_away_from_silence():
    c = config(guidance=replace(BASE.guidance, scale=3.0))
    flow, p = Noting(), performance(c)
    shown = advance(c, flow, p, "parallel")
    said = flow.target(p.audio.read(0, shown.shape[1])[0])
    torch.testing.assert_close(shown, 3.0 * said, atol=1e-3, rtol=1e-3)


def test_guidance_leads_away_from_the_null_prompt():
    c, flow = config(guidance=replace(BASE.guidance, scale=3.0)), Noting()
    p = performance(c, heard=0)
    p.prompt = torch.ones(2, 4)
    null = torch.full((2, 4), 5.0)
    shown = Denoiser(GuidedVelocity(flow, c, null)).advance([p], [causal_plan(c, 0)])[0]
    torch.testing.assert_close(shown, torch.full_like(shown, 5.0 + 3.0 * (1.0 - 5.0)))


def test_a_changed_prompt_is_heard_from_the_next_chunk_on():
    c, flow = config(), Noting()
    p, denoiser = performance(c, heard=0), Denoiser(GuidedVelocity(flow, c, torch.zeros(2, 4)))
    for value in (0.0, 2.0, -1.0):
        p.prompt = torch.full((2, 4), value)
        shown = denoiser.advance([p], [causal_plan(c, p.position)])[0]
        torch.testing.assert_close(shown, torch.full_like(shown, value))


def test_a_speculation_is_pulled_in_at_the_level_at_which_it_was_left():
    """Speech that arrives after the speculation: its field is drawn to the speculated one, which
    heard nothing, by the trace's strength, fading out towards the end of the shared window."""
    c, flow = config(), Noting()
    strength = (0.6, 0.3, 0.0)
    p = performance(c, strength, heard=2)
    advance(c, flow, p, "causal")  # latents 0 and 1 are heard, the successor hears nothing
    p.audio.append(torch.randn(40, c.audio.embed_dim))
    shown = advance(c, flow, p, "causal")
    chunk = causal_plan(c, 2).chunks[0]
    said = flow.target(p.audio.read(chunk.start, chunk.length)[0])
    assert said.abs().mean() > 0.3
    fade = torch.cos((torch.arange(chunk.length) + 0.5) / chunk.length * torch.pi / 2) ** 2
    (x, _), (second, after), (third, last) = flow.seen[-3:]
    solo = chunk.length - c.chunks.live_tail  # the rest is interpolated with the successor
    pulled = said * (1 - strength[0] * fade[:, None, None])
    expected = pulled + (x[0] - pulled) * after
    torch.testing.assert_close(second[0][:, :solo], expected[:, :solo], atol=1e-4, rtol=1e-4)
    pulled = said * (1 - strength[1] * fade[:, None, None])
    expected = pulled + (second[0] - pulled) * (last / after)
    torch.testing.assert_close(third[0][:, :solo], expected[:, :solo], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shown, said[:, : shown.shape[1]], atol=1e-4, rtol=1e-4)
