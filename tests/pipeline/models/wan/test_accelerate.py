"""Accelerations switched on in a whole model: each is really on, and the frames stay near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.acceleration.offload import BlockStream
from pipeline.acceleration.profile import Acceleration, profile, profiles
from pipeline.acceleration.quantize import Int8Linear
from pipeline.consent import ConsentGrant
from pipeline.errors import BackendRefused, ModelDamaged, ModelMismatch, ModelUnknown
from pipeline.models.wan.accelerate import GIB, Applied, accelerate, compile_blocks
from pipeline.models.wan.generation.denoise import denoise
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan, GuidedVelocity
from pipeline.models.wan.generation.recipes import perform
from pipeline.models.wan.model_cards import Schedule
from pipeline.models.wan.network.cuda_graphs import Graphs
from pipeline.models.wan.network.dit import WanDiT
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.vae import tiled_decode
from pipeline.models.wan.warmup import warm_up
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.generation.test_chunked import score
from tests.pipeline.models.wan.generation.test_guided_velocity import (
    GUIDED,
    STEPS,
    Counter,
    clean,
    field,
    of,
)
from tests.pipeline.models.wan.whole import SIZE, model, picture, render, speech

ALL = Acceleration(
    "all", attention_backends=("flash3", "sdpa"), linears_method="int8-dynamic",
    linears_keep=("blocks.0.*",), vae_channels_last=True, vae_fused_norms=True, vae_strip_rows=1,
)  # fmt: skip


def applied(how: Acceleration) -> tuple[WanDiT, Applied]:
    dit = small.dit("A")
    return dit, accelerate(dit, small.vae(4, 16), how, "cpu")


def test_nothing_is_switched_on_by_default() -> None:
    dit, what = applied(Acceleration())
    assert what.pace == AccelerationPlan(what.pace.attends) and len(what.pace.attends) == 1
    assert what.decode is None and dit.carrier is None
    assert torch.equal(clean(field(what.pace)), clean(field(AccelerationPlan())))


def test_what_was_switched_on_is_told_with_what_was_refused() -> None:
    dit, what = applied(ALL)
    told = "; ".join(what.notices)
    assert "50 linear layers in int8-dynamic" in told
    assert "'flash3' is not available: it needs a CUDA device" in told
    assert "attention: sdpa" in told and "cosine 1.00000" in told
    assert isinstance(dit.blocks[1].self_attn.q, Int8Linear)


def test_the_decoder_of_a_profile_is_rearranged() -> None:
    vae = small.vae(4, 16)
    accelerate(small.dit("A"), vae, ALL, "cpu")
    assert not any(isinstance(module, torch.nn.SiLU) for module in vae.modules())
    weight = vae.decoder.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_all_together_the_frames_stay_near(
    grant: ConsentGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(2, 5.0, "renoise", "float32")
    plain = render(WanPipeline(model("livetalk-1.3b", schedule=schedule)), grant, 0.5)
    parts = model("livetalk-1.3b", schedule=schedule)
    fast = WanPipeline(parts, applied=accelerate(parts.dit, parts.vae, ALL, "cpu"))
    rows: list[int] = []
    plain_strips = tiled_decode.Chain.push
    monkeypatch.setattr(tiled_decode.Chain, "push",
                        lambda c, x: rows.append(x.shape[3]) or plain_strips(c, x))  # fmt: skip
    ours = render(fast, grant, 0.5)
    assert rows and min(rows) == 1
    assert "int8-dynamic" in fast.reason and len(ours) == len(plain)
    pairs = [(a.image.astype(float), b.image.astype(float)) for a, b in zip(ours, plain)]
    worst = max(abs(a - b).mean() for a, b in pairs)
    assert 0 < worst < 12


def test_offload_leaves_the_result_as_it_is_and_streams() -> None:
    plain, streamed = small.dit("A"), small.dit("A")
    size = max(sum(p.nbytes + 256 for p in b.parameters()) for b in plain.blocks)
    how = Acceleration(offload_gib=3.01 * size / GIB)
    what = accelerate(streamed, small.vae(4, 16), how, "cpu")
    assert isinstance(streamed.carrier, BlockStream) and "of 6 blocks stay" in what.notices[0]
    run = replace(score(plain, schedule=STEPS))
    exact, ours = clean(of(run, GUIDED)), clean(of(replace(run, dit=streamed), GUIDED))
    assert torch.equal(ours, exact)
    assert streamed.carrier.loads > 3 * 3 * 3


def test_sparse_attention_has_its_share_for_each_step() -> None:
    how = Acceleration(attention_backends=("sparse-linear",), attention_kept=(1.0, 0.5, 0.3),
                       attention_skipped=0.2)  # fmt: skip
    _, what = applied(how)
    shares = [a.keywords["sparsity"] for a in what.pace.attends]  # type: ignore[attr-defined]
    assert [(s.kept, s.skipped) for s in shares] == [(1.0, 0.0), (0.5, 0.2), (0.3, 0.2)]
    assert small.relative(clean(field(what.pace)), clean(field(AccelerationPlan()))) < 0.5


def test_a_backend_that_nobody_has_is_refused() -> None:
    with pytest.raises(BackendRefused, match="no attention can be used: .*sage"):
        applied(Acceleration(attention_backends=("sage",)))


# -- compilation, graphs, warm-up ---------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_blocks_of_a_kind_are_compiled_once() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    dit, plain = small.dit("base", depth=5), small.dit("base", depth=5)
    compile_blocks(dit, backend)  # type: ignore[arg-type]
    x, told = torch.randn(1, 16, 2, 4, 4), plain.encode(torch.randn(1, 5, 20))
    for t in (900.0, 100.0):
        level = torch.tensor([t])
        assert small.relative(dit(x, level, told), plain(x, level, told)) < 1e-5
    torch._dynamo.reset()
    assert len(graphs) == 1


class Again:
    """Records by keeping the work, and repeats it into the same memory."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        self.recorded += 1
        output = work().clone()
        return lambda: output.copy_(work()), output


@pytest.mark.parametrize("layout", ["A", "B"])
def test_small_forwards_are_recorded_once_and_replayed(layout: str) -> None:
    recorder = Again()
    graphs = Graphs(recorder, limit=10_000)
    exact = clean(field(AccelerationPlan(), layout=layout))
    for _ in range(2):
        found = field(AccelerationPlan(graphs=graphs), layout=layout)
        assert small.relative(clean(found), exact) < 1e-5
    assert recorder.recorded == 2 and graphs.replays == 18  # models; by branches, steps


def test_a_recording_copies_what_has_changed_alone() -> None:
    graphs = Graphs(Again(), limit=1)
    fixed, sums = torch.ones(3), []
    for i in range(3):
        sums.append(float(graphs.run("sum", lambda a, b: a + b, [torch.full((3,), i), fixed])[0]))
    assert sums == [1.0, 2.0, 3.0]
    assert next(iter(graphs._recordings.values())).copied == 3 + 1


def test_large_forwards_are_not_recorded() -> None:
    recorder = Again()
    clean(field(AccelerationPlan(graphs=Graphs(recorder, limit=10))))
    assert recorder.recorded == 0


def test_too_many_recordings_are_refused() -> None:
    graphs = Graphs(Again(), limit=1, most=1)
    graphs.run("a", lambda x: x, [torch.zeros(1)])
    with pytest.raises(ValueError, match="1 shapes are recorded already"):
        graphs.run("a", lambda x: x, [torch.zeros(2)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays_the_forward() -> None:
    from pipeline.models.wan.network.cuda_graphs import CudaRecorder

    run = score(schedule=STEPS)
    run.dit.to("cuda")
    run = replace(run, reference=replace(run.reference, latent=run.reference.latent.cuda()))
    noises = torch.randn(3, 2, 16, 4, 4, 4, device="cuda").unbind(0)
    outs = []
    for pace in (
        AccelerationPlan(),
        AccelerationPlan(graphs=Graphs(CudaRecorder(torch.device("cuda")), 10_000)),
    ):
        velocity: GuidedVelocity = of(replace(run, pace=pace), GUIDED)
        with torch.no_grad():
            outs.append(denoise(velocity, STEPS, lambda draw: noises[draw]))
    assert small.relative(outs[1], outs[0]) < 1e-4


@pytest.mark.parametrize(
    ("name", "chunks"),
    [("livetalk-1.3b", 4), ("flashtalk-14b", 2), ("omniavatar-1.3b", 2), ("liveact-18b", 3)],
)
def test_warming_up_sees_every_shape_of_a_performance(name: str, chunks: int) -> None:
    parts = model(name, schedule=Schedule(2, 5.0, "renoise", "float32"))
    seen: set[object] = set()
    plain = parts.dit.forward

    def noted(x: Tensor, *args: object, **options: object) -> Tensor:
        ring = options.get("ring")
        seen.add((x.shape, len(ring.places(0, x.shape[2])) if ring else 0))  # type: ignore[attr-defined]
        return plain(x, *args, **options)  # type: ignore[arg-type]

    parts.dit.forward = noted  # type: ignore[method-assign]
    assert warm_up(parts.dit, parts.card, AccelerationPlan(), SIZE) == chunks
    warm = set(seen)
    seen.clear()
    assert warm
    warm_up(parts.dit, parts.card, AccelerationPlan(), SIZE)
    assert seen <= warm


@pytest.mark.parametrize("name", ["livetalk-1.3b", "flashtalk-14b", "omniavatar-1.3b"])
def test_warming_up_runs_every_batch_of_streams_and_the_window_of_a_rendering(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parts = model(name, schedule=Schedule(2, 5.0, "renoise", "float32"))
    seen = Counter(monkeypatch)
    chunks = name == "livetalk-1.3b"
    warm_up(parts.dit, parts.card, AccelerationPlan(), SIZE, window=1 if chunks else 3, streams=5)
    assert set(seen.rows) == {1, 2, 4} | (set() if chunks else {3})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nothing_is_compiled_after_warming_up(grant: ConsentGrant) -> None:
    """Rings that fill, with and without speech, alone and in pairs: one block for all of them, in a
    few variants, and not one for every length of the past."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    schedule = Schedule(2, 5.0, "renoise", "float32")
    parts = model("livetalk-1.3b", schedule=schedule)
    compile_blocks(parts.dit, backend)  # type: ignore[arg-type]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(), streams=2))
    pipeline.warm_up([SIZE])
    count = len(compiled)
    avatar = pipeline.enrol(picture(), grant)
    streams = [pipeline.open(avatar, grant, "calm", seed) for seed in range(2)]
    for stream in streams:
        stream.push(speech(2.5))
    made = [pipeline.engine.step(streams) for _ in range(4)]
    made.append(pipeline.engine.step(streams[:1]))
    torch._dynamo.reset()
    assert count <= 5 and len(compiled) == count
    assert all(frames for step in made for frames in step)


def test_what_is_compiled_or_recorded_is_warmed_up_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipeline.models.wan import pipeline as module

    parts = model("livetalk-1.3b")
    monkeypatch.setattr(module, "find_files", lambda *_: None)
    monkeypatch.setattr(module, "load_model", lambda *_: parts)
    warmed: list[object] = []
    monkeypatch.setattr(module.WanPipeline, "warm_up", lambda _, sizes: warmed.append(sizes))
    for how in (Acceleration(), Acceleration(launch_graph_tokens=1)):
        monkeypatch.setattr(module, "accelerate", lambda *_: Applied(AccelerationPlan()))
        WanPipeline.load(tmp_path, parts.card, speed=how)
    assert warmed == [(SIZE,)]


def test_sizes_that_were_not_warmed_up_are_refused(grant: ConsentGrant) -> None:
    parts = model("livetalk-1.3b", sizes=(SIZE, (64, 32)))
    pipeline = WanPipeline(parts)
    pipeline.warm_up([SIZE])
    pipeline.enrol(picture(), grant, size=SIZE)
    with pytest.raises(ModelMismatch, match="64x32 was not warmed up; 32x16 were"):
        pipeline.enrol(picture(), grant, size=(64, 32))


# -- profiles -----------------------------------------------------------------------------------


def test_there_is_a_profile_for_every_kind_of_machine() -> None:
    assert profiles() == ("cpu", "gpu-24gb", "gpu-80gb")
    for name in profiles():
        assert profile(name).name == name
    assert profile("plain") == Acceleration("plain")
    assert profile("cpu").linears_method == "int8-dynamic" and not profile("cpu").launch_compile
    assert profile("gpu-24gb").offload_gib > 0 and profile("gpu-80gb").offload_gib == 0


def test_the_kept_layers_of_the_profiles_exist() -> None:
    for name in profiles():
        how = profile(name)
        if how.linears_method:
            plain = replace(how, offload_gib=0.0, attention_backends=("sdpa",))
            accelerate(small.dit("B"), small.vae(4, 16), plain, "cpu")


def test_what_was_learned_for_a_checkpoint_comes_on_top(tmp_path: Path) -> None:
    (tmp_path / "acceleration.toml").write_text(
        '[guidance]\nthresholds = [0.0, 0.1]\n[reuse]\nsteps = ["FF", "FR"]\n'
        '[linears.scales]\n"blocks.0.ffn.0" = 3.5\n'
    )
    learned = profile("gpu-80gb", tmp_path)
    assert learned.guidance_thresholds == (0.0, 0.1) and learned.reuse_steps == ("FF", "FR")
    assert learned.linears_scales == {"blocks.0.ffn.0": 3.5} and learned.launch_compile


def test_profiles_nobody_knows_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match="no profile is called 'tpu'; known are plain, cpu"):
        profile("tpu")
    (tmp_path / "acceleration.toml").write_text("[vae]\nrows = 3\n")
    with pytest.raises(ModelDamaged, match=r"unknown keys \['vae_rows'\]"):
        profile("cpu", tmp_path)
    with pytest.raises(ValueError, match="offload excludes graphs"):
        Acceleration(offload_gib=1.0, launch_compile=True)


def test_perform_takes_the_pace_along() -> None:
    run = replace(score(schedule=STEPS), pace=AccelerationPlan(thresholds=(0.0, 0.1)))
    with pytest.raises(ValueError, match="thresholds are given for 2 steps, the schedule has 3"):
        perform(run, None, model("omniavatar-1.3b").card)  # type: ignore[arg-type]
