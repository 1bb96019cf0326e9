"""Several streams as one batch: each gets what it would get alone, and the batch is really one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.acceleration.profile import Acceleration
from pipeline.attention.cache import Reuse
from pipeline.consent import ConsentGrant, Registry
from pipeline.errors import ConsentRevoked
from pipeline.models.wan.accelerate import Applied, accelerate
from pipeline.models.wan.generation import batching as module
from pipeline.models.wan.generation.batching import decode_together, grouped, together
from pipeline.models.wan.generation.chunked import (
    ChunkPerformance,
    GenerationSetup,
    GenerationState,
    RingPerformance,
)
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.condition import Reference
from pipeline.models.wan.network.cuda_graphs import Graphs
from pipeline.models.wan.network.kv_ring import KvRing
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.stream import WanStream
from pipeline.models.wan.vae.autoencoder import VaeDecoder
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_guided_velocity import Counter
from tests.pipeline.models.wan.test_accelerate import Again
from tests.pipeline.models.wan.whole import model, picture, speech

TWO = Schedule(2, 5.0, "renoise", "float32")
DIT = {layout: small.dit(layout) for layout in "AB"}


def performance(
    seed: int,
    kind: str,
    layout: str = "A",
    pace: AccelerationPlan | None = None,
    guidance: float = 1.0,
) -> GenerationState:
    """One of its own picture, prompt and noise."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    reference = Reference(random(1, 16, 1, 4, 4))
    if layout == "B":
        reference = replace(reference, video=random(1, 16, 4, 4, 4), tokens=random(1, 257, 18))
    score = GenerationSetup(
        DIT[layout], TWO, Guidance(guidance, guidance), reference, seed, pace or AccelerationPlan()
    )
    prompts = Prompts(random(1, 3 + seed % 4, 20), random(1, 2, 20))
    if kind == "ring":
        return RingPerformance(score, prompts, 2, KvRing(5, 1, relative=True))
    return ChunkPerformance(score, prompts, 4, 2, window=2 if kind == "window" else 1)


def heard(run: GenerationState, seed: int, layout: str = "A") -> Tensor:
    span = run.span()
    draw = torch.Generator().manual_seed(100 * seed + span.start)
    shape = (14,) if layout == "A" else (12,)
    return torch.randn(span.stop - span.start, *shape, generator=draw)


def rounds(
    runs: Sequence[GenerationState], most: int, count: int, layout: str = "A"
) -> list[list[Tensor]]:
    """Latents of every round and stream."""
    return [
        [fresh.latents for fresh in together(
            [run.turn(heard(run, i, layout)) for i, run in enumerate(runs)], most)]
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "layout", "guidance"),
    [("ring", "A", 1.0), ("chunk", "A", 3.0), ("window", "A", 1.0), ("chunk", "B", 3.0)],
)
@pytest.mark.parametrize("branches", [False, True])
def test_streams_in_one_batch_get_what_they_get_alone(
    monkeypatch: pytest.MonkeyPatch, kind: str, layout: str, guidance: float, branches: bool
) -> None:
    pace = AccelerationPlan(batched=branches)

    def four() -> list[GenerationState]:
        return [performance(seed, kind, layout, pace, guidance) for seed in range(4)]

    alone = rounds(four(), 1, 4, layout)
    seen = Counter(monkeypatch)
    batch = rounds(four(), 4, 4, layout)
    width = (2 if kind == "window" else 1) * (2 if branches and guidance > 1 else 1)
    assert set(seen.rows) == {4 * width}
    for one, all_ in zip(alone, batch, strict=True):
        for mine, ours in zip(one, all_, strict=True):
            assert small.relative(ours, mine) < 1e-5
    assert small.relative(batch[0][1], batch[0][0]) > 0.1  # they are different people


def test_rings_of_different_fill_go_apart_and_together_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two streams, the second one 1 block behind; rings of 5 latents are full after 2 blocks."""

    def two() -> list[GenerationState]:
        runs = [performance(seed, "ring") for seed in range(2)]
        runs[0].advance(heard(runs[0], 0))
        return runs

    alone = rounds(two(), 1, 4)
    runs = two()
    seen = Counter(monkeypatch)
    batch = rounds(runs, 2, 4)
    assert seen.rows == [1, 1] * 3 + [1, 1] * 3 + [2] * 3 + [2] * 3
    for one, all_ in zip(alone, batch, strict=True):
        assert all(small.relative(b, a) < 1e-5 for a, b in zip(one, all_, strict=True))


def test_streams_whose_guidance_is_cached_go_on_at_their_own_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A threshold that lets some streams leave a branch out: what is left is still joined."""
    probe = performance(0, "chunk", pace=AccelerationPlan(thresholds=(0.0, 1e9)), guidance=3.0)
    assert probe.advance(heard(probe, 0)).latents.isfinite().all()

    def three(bound: float) -> list[GenerationState]:
        made = [performance(seed, "chunk", guidance=3.0) for seed in range(3)]
        for run, own in zip(made, (0.0, bound, bound), strict=True):
            run._score = replace(run._score, pace=AccelerationPlan(thresholds=(0.0, own)))  # type: ignore[attr-defined]
        return made

    alone = rounds(three(1e9), 1, 2)
    seen = Counter(monkeypatch)
    batch = rounds(three(1e9), 4, 2)
    assert max(seen.rows) == 2 and sum(seen.rows) == 2 * (3 * 2 + 3 + 1)
    for one, all_ in zip(alone, batch, strict=True):
        assert all(small.relative(b, a) < 1e-5 for a, b in zip(one, all_, strict=True))


def test_attention_is_reused_for_a_batch_as_for_each() -> None:
    pace = AccelerationPlan(reuse=Reuse(("FFFFFF", "FRFRRF")))

    def two() -> list[GenerationState]:
        return [performance(seed, "chunk", pace=pace) for seed in range(2)]

    alone, batch = rounds(two(), 1, 2), rounds(two(), 2, 2)
    plain = rounds([performance(seed, "chunk") for seed in range(2)], 2, 2)
    for one, all_, full in zip(alone, batch, plain, strict=True):
        assert all(small.relative(b, a) < 1e-5 for a, b in zip(one, all_, strict=True))
        assert small.relative(all_[0], full[0]) > 1e-6


def test_a_batch_is_replayed_from_one_recording() -> None:
    recorder = Again()
    graphs = Graphs(recorder, limit=10_000)
    pace = AccelerationPlan(graphs=graphs)
    batch = rounds([performance(seed, "chunk", pace=pace) for seed in range(4)], 4, 3)
    plain = rounds([performance(seed, "chunk") for seed in range(4)], 1, 3)
    assert recorder.recorded == 1 and graphs.replays == 2 * 3
    assert all(small.relative(b, a) < 1e-5 for p, q in zip(plain, batch) for a, b in zip(p, q))


def test_groups_are_powers_of_two() -> None:
    kinds = {i: "a" if i < 7 else "b" for i in range(8)}
    assert [len(g) for g in grouped(kinds, 4)] == [4, 2, 1, 1]
    assert [len(g) for g in grouped(kinds, 3)] == [2, 2, 2, 1, 1]
    assert sorted(i for g in grouped(kinds, 4) for i in g) == list(range(8))


def test_videos_are_decoded_together_and_apart_where_one_has_just_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = small.vae()
    latents = torch.randn(3, 4, 5, 3, 2, generator=torch.Generator().manual_seed(1))
    whole = [VaeDecoder(vae).push(row[None]) for row in latents]
    decoders = [VaeDecoder(vae) for _ in range(3)]
    decoders[0].push(latents[:1, :, :1])
    rows: list[int] = []
    plain = vae.decode_step
    monkeypatch.setattr(vae, "decode_step", lambda x, p: rows.append(len(x)) or plain(x, p))
    for decoder in decoders:
        decoder.step = vae.decode_step
    new = [latents[:1, :, 1:3], *latents[1:, None, :, :2]]
    pieces = decode_together(list(zip(decoders, new, strict=True)), 4)
    assert rows == [1, 1, 2, 2]
    for piece, full, start, stop in zip(pieces, whole, (1, 0, 0), (9, 5, 5), strict=True):
        assert small.relative(piece, full[:, :, start:stop]) < 1e-5
    decoders[0].push(latents[:1, :, 3:4])
    rows.clear()
    both = decode_together([(d, r[None, :, 2:4]) for d, r in zip(decoders[1:], latents[1:])], 2)
    assert rows == [2, 2]
    assert all(small.relative(b, w[:, :, 5:13]) < 1e-5 for b, w in zip(both, whole[1:]))


# -- whole streams -------------------------------------------------------------------------------


def opened(pipeline: WanPipeline, grant: ConsentGrant, count: int) -> list[WanStream]:
    streams = []
    for i in range(count):
        avatar = pipeline.enrol(picture(60 + 8 * i), grant)
        streams.append(pipeline.open(avatar, grant, "calm" * i, seed=i))
        streams[-1].push(speech(4.0, seed=i))
    return streams


@pytest.mark.parametrize(
    "name",
    ["livetalk-1.3b", "omniavatar-1.3b", "flashtalk-14b", "avatarforcing-1.3b", "liveact-18b"],
)
def test_the_engine_shows_every_stream_what_it_would_show_alone(
    monkeypatch: pytest.MonkeyPatch, grant: ConsentGrant, name: str
) -> None:
    parts = model(name) if name == "liveact-18b" else model(name, schedule=TWO)
    apart = opened(WanPipeline(parts), grant, 3)
    alone = [[f for _ in range(2) for f in stream.step()] for stream in apart]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(), streams=4))
    streams = opened(pipeline, grant, 3)
    seen = Counter(monkeypatch)
    rounds_ = [[*map(list, pipeline.engine.step(streams))] for _ in range(2)]
    assert set(seen.rows) == {2, 1}  # a pair and the third
    for i, frames in enumerate(alone):
        ours = [frame for made in rounds_ for frame in made[i]]
        assert [f.index for f in ours] == [f.index for f in frames]
        worst = max(
            np.abs(a.image.astype(int) - b.image.astype(int)).max()
            for a, b in zip(ours, frames, strict=True)
        )
        assert worst <= 1  # rounding
    told = [stream.metrics() for stream in streams]
    assert all(one["denoise"] == pytest.approx(told[0]["denoise"]) for one in told)


class Broken(MemoryError):
    """What a test breaks."""


@pytest.mark.parametrize("broken", ["join", "_decode_joined"])
def test_a_batch_that_fails_goes_one_by_one_and_nobody_notices(
    monkeypatch: pytest.MonkeyPatch, grant: ConsentGrant, broken: str
) -> None:
    parts = model("livetalk-1.3b", schedule=TWO)
    exact = [[*s.step(), *s.step()] for s in opened(WanPipeline(parts), grant, 2)]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(), streams=2))
    streams = opened(pipeline, grant, 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, broken, _fail)
        made = [list(frames) for frames in pipeline.engine.step(streams)]
    made = [[*first, *s.step()] for first, s in zip(made, streams, strict=True)]
    for ours, plain in zip(made, exact, strict=True):
        assert [f.index for f in ours] == [f.index for f in plain]
        for a, b in zip(ours, plain, strict=True):
            assert np.abs(a.image.astype(int) - b.image.astype(int)).max() <= 1


def test_a_ring_that_cannot_take_in_its_latents_leaves_the_others_as_they_were(
    monkeypatch: pytest.MonkeyPatch, grant: ConsentGrant
) -> None:
    parts = model("livetalk-1.3b", schedule=TWO)
    exact = [*opened(WanPipeline(parts), grant, 1)[0].step()]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(), streams=2))
    streams = opened(pipeline, grant, 2)
    ring = streams[1]._performance._ring
    monkeypatch.setattr(type(ring), "kept", _fail_for(ring, type(ring).kept))
    first, second = pipeline.engine.step(streams)
    for ours, plain in zip(first, exact, strict=True):
        assert np.abs(ours.image.astype(int) - plain.image.astype(int)).max() <= 1
    with pytest.raises(Broken):
        list(second)
    assert streams[0]._performance._ring.times == [0, 1]  # one block, and not twice


STAGES = {
    "consent": ("grant", lambda s: s.grant),
    "hear": ("read", lambda s: s._parts.speech),
    "denoise": ("turn", lambda s: s._performance),
    "decode": ("push", lambda s: s._parts.decoder),
    "show": ("add", lambda s: s._parts.memory),
    "mark": ("stamp", lambda s: s._label),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stream_that_fails_at_any_stage_fails_alone(
    grant: ConsentGrant, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = model("livetalk-1.3b", schedule=TWO)
    exact = [[*s.step(), *s.step()] for s in opened(WanPipeline(parts), grant, 3)]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(), streams=4))
    streams = opened(pipeline, grant, 3)
    streams[1]._label, joined = replace(streams[1]._label), module._decode_joined
    method, owner = STAGES[stage]
    with monkeypatch.context() as patch:
        if stage == "consent":
            patch.setattr(streams[1], "grant", Refusing())
        else:
            patch.setattr(module, "_decode_joined", _fail if stage == "decode" else joined)
            kind = type(owner(streams[1]))
            patch.setattr(kind, method, _fail_for(owner(streams[1]), getattr(kind, method)))
        first = pipeline.engine.step(streams)
        with pytest.raises(Broken):
            list(first[1])
        made = {i: list(first[i]) for i in (0, 2)}
    second = pipeline.engine.step([streams[0], streams[2]])
    for i, frames in made.items():
        frames += second[i // 2]
        assert [f.index for f in frames] == [f.index for f in exact[i]]
        for ours, plain in zip(frames, exact[i], strict=True):
            assert np.abs(ours.image.astype(int) - plain.image.astype(int)).max() <= 1


class Refusing:
    """A grant that does not stand."""

    def check(self, **_: str) -> None:
        raise Broken


def _fail(*_: object) -> None:
    raise Broken


def _fail_for(one: object, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A method that fails for one of its objects."""

    def method(self: object, *arguments: object) -> object:
        if self is one:
            raise Broken
        return plain(self, *arguments)

    return method


def test_a_batch_with_revoked_consent_hears_nothing(
    registry: Registry, grant: ConsentGrant
) -> None:
    pipeline = WanPipeline(
        model("livetalk-1.3b", schedule=TWO), applied=Applied(AccelerationPlan(), streams=2)
    )
    streams = opened(pipeline, grant, 2)
    registry.revoke(grant.consent_id)
    for frames in pipeline.engine.step(streams):
        with pytest.raises(ConsentRevoked):
            list(frames)
    assert all(stream.media_time == 0 and stream.ready for stream in streams)


def test_a_profile_says_how_many_streams_are_one_batch() -> None:
    dit = small.dit("A")
    what = accelerate(dit, small.vae(4, 16), Acceleration(streams_together=4), "cpu")
    assert what.streams == 4
    assert WanPipeline(model("livetalk-1.3b"), applied=what).engine._most == 4
    with pytest.raises(ValueError, match="together must be at least 1, not 0"):
        Acceleration(streams_together=0)


@pytest.mark.parametrize("kind", ["ring", "chunk", "window"])
def test_a_batch_reads_no_number_from_the_device(kind: str) -> None:
    runs = [performance(seed, kind) for seed in range(2)]
    rounds(runs, 2, 1)
    turns = [run.turn(heard(run, i)) for i, run in enumerate(runs)]
    with torch.profiler.profile() as seen:
        together(turns, 2)
    waiting = [e.name for e in seen.events() if e.name in ("aten::item", "aten::nonzero")]
    assert waiting == []
