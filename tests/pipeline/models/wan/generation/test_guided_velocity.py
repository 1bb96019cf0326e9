"""The guided field of a chunk: what is saved, what it costs, and that it is really saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.attention import attend
from pipeline.attention.cache import Reuse
from pipeline.attention.sparse import Sparsity, attend_sparse
from pipeline.models.wan.generation.chunked import GenerationSetup
from pipeline.models.wan.generation.denoise import Known, Prompts, denoise, guided_branches
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan, GuidedVelocity
from pipeline.models.wan.model_cards import Guidance, Schedule
from pipeline.models.wan.network.dit import Shortcut, WanDiT
from pipeline.models.wan.network.kv_ring import KvRing
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score

STEPS = Schedule(3, 5.0, "renoise", "float32")
GUIDED = Guidance(5.0, 4.0)


def field(pace: AccelerationPlan, guidance: Guidance = GUIDED, layout: str = "A") -> GuidedVelocity:
    run = replace(score(layout=layout, schedule=STEPS), pace=pace)
    return of(run, guidance)


def of(run: GenerationSetup, guidance: Guidance) -> GuidedVelocity:
    torch.manual_seed(9)
    dit, device = run.dit, run.device
    prompts = Prompts(torch.randn(1, 5, 20).to(device), torch.randn(1, 3, 20).to(device))
    audio: Tensor | tuple[Tensor, Tensor] = torch.randn(2, 4, 56).to(device)
    image = None
    if dit.config.layout == "B":
        image = torch.randn(1, 257, 18)
        audio = (torch.randn(2, 1, 5, 12), torch.randn(2, 3, 8, 12))
    branches = guided_branches(dit, guidance, prompts, image, audio)
    side = torch.randn(2, dit.config.in_channels - 16, 4, 4, 4).to(device)
    return GuidedVelocity(dit, branches, side, run.modulations(), run.pace)


def clean(velocity: GuidedVelocity) -> Tensor:
    noises = torch.randn(3, 2, 16, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return denoise(velocity, STEPS, lambda draw: noises[draw])


class Counter:
    """Counts forwards, and blocks whose self-attention is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.attentions = 0
        plain = WanDiT.forward

        def counted(model: WanDiT, x: Tensor, *args: object, **options: object) -> Tensor:
            self.rows.append(len(x))
            return plain(model, x, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(WanDiT, "forward", counted)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.attentions += 1
        return attend(q, k, v)


@pytest.mark.parametrize("layout", ["A", "B"])
def test_all_branches_in_one_batch_give_what_they_give_one_by_one(
    monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    plain = clean(field(AccelerationPlan(), layout=layout))
    seen = Counter(monkeypatch)
    together = clean(field(AccelerationPlan(batched=True), layout=layout))
    assert seen.rows == [6, 6, 6]  # three branches of two chunks
    assert small.relative(together, plain) < 1e-5


def test_guidance_of_one_runs_one_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counter(monkeypatch)
    clean(field(AccelerationPlan(batched=True, thresholds=(0.0, 0.0, 0.0)), Guidance(1.0, 1.0)))
    assert seen.rows == [2, 2, 2]


def test_a_cached_branch_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counter(monkeypatch)
    velocity = field(AccelerationPlan(thresholds=(0.0, math.inf, 0.0)))
    clean(velocity)
    assert seen.rows == [2] * (3 + 1 + 3)
    assert velocity.hits == {"guidance": 1, "attention": 0}


def test_a_cache_of_branches_that_is_never_used_changes_nothing() -> None:
    assert torch.equal(
        clean(field(AccelerationPlan(thresholds=(0.0,) * 3))), clean(field(AccelerationPlan()))
    )


def test_thresholds_in_between_look_at_the_conditional_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Counter(monkeypatch)
    clean(field(AccelerationPlan(thresholds=(0.0, 1e-6, 1e6))))
    assert seen.rows == [2] * (3 + 3 + 1)


def test_batched_branches_are_left_out_where_the_cache_decides_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = clean(field(AccelerationPlan(thresholds=(0.0, math.inf, 0.0))))
    seen = Counter(monkeypatch)
    batched = clean(field(AccelerationPlan(batched=True, thresholds=(0.0, math.inf, 0.0))))
    assert seen.rows == [6, 2, 6]
    assert small.relative(batched, plain) < 1e-5


@pytest.mark.parametrize("batched", [False, True])
def test_attention_is_reused_where_the_table_says_so(
    monkeypatch: pytest.MonkeyPatch, batched: bool
) -> None:
    seen = Counter(monkeypatch)
    table = Reuse(("FFFFFF", "FRFRFF", "FRRFFF"))
    velocity = field(AccelerationPlan(attends=(seen.attend,), batched=batched, reuse=table))
    reused = clean(velocity)
    assert seen.attentions == (6 + 4 + 4) * (1 if batched else 3)
    assert velocity.hits["attention"] == 4 * (1 if batched else 3)
    assert 1e-6 < small.relative(reused, clean(field(AccelerationPlan()))) < 0.5


def test_a_table_without_reuse_changes_nothing() -> None:
    full = Reuse.of(3, 6)
    assert torch.equal(clean(field(AccelerationPlan(reuse=full))), clean(field(AccelerationPlan())))


def test_each_step_has_its_own_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def sparse(share: float):  # type: ignore[no-untyped-def]
        def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            shares.append(share)
            return attend_sparse(q, k, v, Sparsity(share, 0.0, 16, 4))

        return run

    wanted = (1.0, 0.5, 0.25)
    found = clean(field(AccelerationPlan(attends=tuple(map(sparse, wanted))), Guidance(1.0, 1.0)))
    assert shares == [share for share in wanted for _ in range(6)]
    assert small.relative(found, clean(field(AccelerationPlan(), Guidance(1.0, 1.0)))) > 1e-6


@pytest.mark.parametrize(
    ("pace", "message"),
    [
        (
            AccelerationPlan(attends=(attend, attend)),
            "attends are given for 2 steps, the schedule has 3",
        ),
        (
            AccelerationPlan(thresholds=(0.0, 1.0)),
            "thresholds are given for 2 steps, the schedule has 3",
        ),
        (AccelerationPlan(reuse=Reuse.of(4, 6)), "reuse are given for 4 steps, the schedule has 3"),
        (AccelerationPlan(reuse=Reuse.of(3, 5)), "reuse names 5 blocks, the model has 6"),
    ],
)
def test_tables_of_another_schedule_or_depth_are_refused(
    pace: AccelerationPlan, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        field(pace)


def test_caches_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="batched must be off"):
        AccelerationPlan(batched=True, thresholds=(0.0, 0.1), reuse=Reuse.of(2, 2))
    with pytest.raises(ValueError, match="at least one attention"):
        AccelerationPlan(attends=())


def test_keys_that_are_kept_are_computed() -> None:
    from pipeline.attention.cache import AttentionCache

    dit = small.dit("A")
    told = dit.encode(torch.randn(1, 5, 20), audio=torch.randn(1, 2, 56))
    with pytest.raises(ValueError, match="never those of another step"):
        dit(torch.randn(1, 33, 2, 4, 4), torch.tensor([500.0]), told, ring=KvRing(4, 1), keep=True,
            shortcut=Shortcut(reuse=AttentionCache(Reuse.of(2, 6))))  # fmt: skip


def test_what_depends_on_the_noise_level_alone_is_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    plain = WanDiT.modulation
    monkeypatch.setattr(WanDiT, "modulation", lambda m, t: calls.append(t) or plain(m, t))
    velocity = field(AccelerationPlan(), Guidance(1.0, 1.0))
    assert len(calls) == 4  # three steps and the level 0 of a ring's pass
    clean(velocity)
    assert len(calls) == 4


class Watch(TorchDispatchMode):
    """Notes every copy from the host and every number read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        given = [a for a in args if isinstance(a, Tensor)]
        crossing = isinstance(out, Tensor) and any(a.ndim and a.device != out.device for a in given)
        if crossing or "_local_scalar_dense" in str(func) or "nonzero" in str(func):
            self.waits.append(str(func))
        return out


@pytest.mark.parametrize("layout", ["A"])
@pytest.mark.parametrize(
    "pace",
    [
        AccelerationPlan(),
        AccelerationPlan(batched=True, thresholds=(0.0, math.inf, 0.0)),
        AccelerationPlan(reuse=Reuse.of(3, 6, [(1, 2), (2, 2)])),
    ],
)
def test_nothing_in_the_loop_waits_for_the_device(layout: str, pace: AccelerationPlan) -> None:
    """On the meta device a number cannot be read, and copies from the host are seen."""
    run = replace(score(layout=layout, schedule=STEPS), pace=pace)
    run.dit.to("meta")
    run = replace(run, reference=replace(run.reference, latent=run.reference.latent.to("meta")))
    velocity = of(run, GUIDED)
    noises = torch.empty(3, 2, 16, 4, 4, 4, device="meta").unbind(0)
    with Watch() as watch, torch.no_grad():
        out = denoise(velocity, STEPS, lambda draw: noises[draw], Known(run.reference.latent))
    assert out.shape == (2, 16, 4, 4, 4)
    assert watch.waits == []


def test_the_watch_sees_what_it_is_for() -> None:
    with Watch() as watch:
        torch.arange(3).to("meta")
        float(torch.ones(2).sum())
    assert len(watch.waits) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_synchronises_the_gpu() -> None:
    run = score(schedule=STEPS)
    run.dit.to("cuda")
    run = replace(run, reference=replace(run.reference, latent=run.reference.latent.cuda()))
    velocity = of(run, GUIDED)
    noises = torch.randn(3, 2, 16, 4, 4, 4, device="cuda").unbind(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            denoise(velocity, STEPS, lambda draw: noises[draw], Known(run.reference.latent))
    finally:
        torch.cuda.set_sync_debug_mode("default")


WAITING = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize",
           "cudaDeviceSynchronize", "cudaEventSynchronize", "Memcpy DtoH")  # fmt: skip


def waits(velocity: GuidedVelocity, noises: Sequence[Tensor], given: Known) -> list[str]:
    """What the profiler saw in the loop that makes the host wait for the device."""
    with torch.no_grad():
        denoise(velocity, STEPS, noises.__getitem__, given)
        with torch.profiler.profile() as seen, torch.profiler.record_function("the loop"):
            denoise(velocity, STEPS, noises.__getitem__, given)
    (loop,) = [event for event in seen.events() if event.name == "the loop"]
    inside = (e for e in seen.events() if e is not loop
              and loop.time_range.start <= e.time_range.start <= loop.time_range.end)  # fmt: skip
    return [event.name for event in inside if event.name.startswith(WAITING)]


def test_the_profiler_sees_no_number_read_in_the_loop() -> None:
    run = score(schedule=STEPS)
    noises = torch.randn(3, 2, 16, 4, 4, 4).unbind(0)
    assert waits(of(run, GUIDED), noises, Known(run.reference.latent)) == []
    threshold = replace(
        run, pace=AccelerationPlan(thresholds=(0.0, 0.5, 0.5))
    )  # has to look at the field
    assert "aten::item" in waits(of(threshold, GUIDED), noises, Known(run.reference.latent))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "pace",
    [
        AccelerationPlan(),
        AccelerationPlan(batched=True),
        AccelerationPlan(thresholds=(0.0, math.inf, 0)),
    ],
)
def test_the_profiler_sees_no_waiting_for_a_gpu(pace: AccelerationPlan) -> None:
    run = score(schedule=STEPS)
    run.dit.to("cuda")
    latent = run.reference.latent.cuda()
    run = replace(run, reference=replace(run.reference, latent=latent), pace=pace)
    noises = torch.randn(3, 2, 16, 4, 4, 4, device="cuda").unbind(0)
    assert waits(of(run, GUIDED), noises, Known(latent)) == []
