"""How a performance goes on: rings of blocks, overlapping chunks, windows of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.sampling import latent_noise
from pipeline.models.wan.generation.chunked import (
    ChunkPerformance,
    GenerationSetup,
    RingPerformance,
)
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.audio_conditioning import group_frames
from pipeline.models.wan.network.condition import Reference, beside, frames_of
from pipeline.models.wan.network.kv_ring import KvRing
from tests.pipeline.models.wan import small


def score(dit=None, layout: str = "A", schedule: Schedule | None = None) -> GenerationSetup:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    reference = Reference(torch.randn(1, 16, 1, 4, 4))
    return GenerationSetup(
        dit or small.dit(layout),
        schedule or Schedule(2, 5.0, "renoise", "float32"),
        Guidance(1.0, 1.0),
        reference,
        seed=5,
    )


def test_a_ring_run_equals_the_published_loop_written_out() -> None:
    """Two blocks, step by step, against the block-causal pass over all latents so far."""
    from pipeline.models.wan.network.block import Causal

    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    features = torch.randn(13, 14)
    performance = RingPerformance(run, prompts, 2, KvRing(8, 2, relative=False))
    ours = []
    for _ in range(2):
        span = performance.span()
        ours.append(performance.advance(features[span.start : span.stop]).latents)
    told = run.dit.encode(prompts.wanted, audio=group_frames(features[None]))
    side = beside(run.dit.config, run.reference, torch.tensor([True, False, False, False]))
    clean = torch.zeros(1, 16, 4, 4, 4)
    for start in (0, 2):
        x = latent_noise(5, start, (16, 2, 4, 4), 0)[None]
        for step, (level, after) in enumerate([(1.0, 5 / 6), (5 / 6, 0.0)]):
            if start == 0:
                x[:, :, :1] = run.reference.latent
            whole = torch.cat([clean[:, :, :start], x], dim=2)
            t = torch.tensor([[0.0] * start + [1000 * level] * 2])
            part = [h.__class__(h.text, h.image, None if h.added is None else
                                h.added[:, : start + 2], h.audio) for h in told]  # fmt: skip
            v = run.dit(torch.cat([whole, side[:, :, : start + 2]], dim=1), t, part,
                        causal=Causal(2))[:, :, start:]  # fmt: skip
            x0 = x - level * v
            fresh = latent_noise(5, start, (16, 2, 4, 4), step + 1)[None]
            x = x0 if after == 0 else (1 - after) * x0 + after * fresh
        if start == 0:
            x[:, :, :1] = run.reference.latent
        clean[:, :, start : start + 2] = x
    assert small.relative(torch.cat(ours, dim=2), clean) < 1e-4


def test_a_chunk_begins_with_the_last_latents_of_the_one_before() -> None:
    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    performance = ChunkPerformance(run, prompts, 4, 2)
    features = torch.randn(40, 14)
    spans, outs = [], []
    for _ in range(3):
        span = performance.span()
        spans.append((span.start, span.stop))
        outs.append(performance.advance(features[span.start : span.stop]).latents)
    assert spans == [(0, 13), (8, 21), (16, 29)]
    assert [out.shape[2] for out in outs] == [4, 2, 2]
    assert torch.equal(outs[0][:, :, :1], run.reference.latent)
    x = latent_noise(5, 2, (16, 4, 4, 4), 0)[None]
    side = beside(run.dit.config, run.reference, torch.tensor([True, True, False, False]))
    told = run.dit.encode(prompts.wanted, audio=group_frames(features[None, 8:21]))
    for step, (level, after) in enumerate([(1.0, 5 / 6), (5 / 6, 0.0)]):
        x[:, :, :2] = outs[0][:, :, -2:]
        v = run.dit(torch.cat([x, side], dim=1), torch.tensor([1000 * level]), told)
        x0 = x - level * v
        fresh = latent_noise(5, 2, (16, 4, 4, 4), step + 1)[None]
        x = x0 if after == 0 else (1 - after) * x0 + after * fresh
    assert small.relative(outs[1], x[:, :, 2:]) < 1e-5


def test_a_window_of_chunks_agrees_where_they_overlap_and_goes_on() -> None:
    run = score()
    prompts = Prompts(torch.randn(1, 5, 20), torch.zeros(1, 1, 20))
    performance = ChunkPerformance(run, prompts, 6, 2, window=3)
    span = performance.span()
    assert (span.start, span.stop) == (0, frames_of(14))
    first = performance.advance(torch.randn(span.stop - span.start, 14)).latents
    assert first.shape[2] == 14
    span = performance.span()
    assert span.start == 48 and span.stop == 48 + frames_of(14)
    second = performance.advance(torch.randn(span.stop - span.start, 14)).latents
    assert second.shape[2] == 12


def test_a_ring_refuses_guidance() -> None:
    run = replace(score(), guidance=Guidance(4.5, 4.5))
    performance = RingPerformance(run, Prompts(torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)), 2,
                                  KvRing(5, 2))  # fmt: skip
    with pytest.raises(ValueError, match="guidance must be 1"):
        performance.advance(torch.zeros(5, 14))
