"""Every fast path runs beside torch's own at load, and makes way for it with the reason."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pipeline.acceleration import quantize as q8
from pipeline.acceleration.profile import Acceleration
from pipeline.acceleration.self_check import agree, seconds
from pipeline.consent import ConsentGrant
from pipeline.errors import BackendRefused, ModelTooLarge
from pipeline.models.wan import accelerate as module
from pipeline.models.wan.accelerate import Applied, accelerate, slow_conv3d
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.cuda_graphs import Graphs
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.stage_clock import HostClock, Stages
from pipeline.models.wan.vae import norms
from pipeline.models.wan.vae.norms import kernel_or_torch
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.whole import SIZE, model, picture, speech

CUDA = torch.device("cuda", 1)


@pytest.fixture
def _on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that are asked for on a card are made here."""
    plain, there = torch.randn, Tensor.to
    monkeypatch.setattr(torch, "randn", lambda *a, device=None, **k: plain(*a, **k))
    monkeypatch.setattr(Tensor, "to", lambda x, *a, **k: x if CUDA in a else there(x, *a, **k))


def kernel(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    monkeypatch.setattr(norms.importlib, "import_module", lambda _: SimpleNamespace(norm_silu=run))


def broken(*_: object) -> Tensor:
    raise NameError("Cannot access global variable Any")


@pytest.mark.usefixtures("_on_the_host")
def test_a_norm_kernel_is_used_where_it_agrees_and_refused_where_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = small.vae(4, 16)
    kernel(monkeypatch, lambda x, gamma: norms.norm_silu(x, gamma))
    assert kernel_or_torch(vae, CUDA)[1] == "the decoder's norms run in one kernel"
    for run, reason in ((broken, "NameError: Cannot access"), (lambda x, g: x, "is off by")):
        kernel(monkeypatch, run)
        fused, told = kernel_or_torch(vae, CUDA)
        assert fused is norms.norm_silu and reason in told and "torch's own passes" in told


@pytest.mark.usefixtures("_on_the_host")
def test_a_kernel_is_judged_at_every_width_of_the_decoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths = set()
    kernel(monkeypatch, lambda x, g: widths.add(x.shape[1]) or norms.norm_silu(x, g))
    vae = small.vae(4, 16)
    kernel_or_torch(vae, CUDA)
    assert widths == {n.gamma.numel() for n in norms._norms(vae)} and len(widths) > 2


def test_linears_that_the_device_refuses_stay_as_they_are_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(q8, "FLOOR", 1.01)
    dit = small.dit("A")
    what = accelerate(dit, small.vae(4, 16), Acceleration(linears_method="int8-dynamic"), "cpu")
    assert what.notices[0].startswith("linear layers stay in float32: int8-dynamic has cosine")
    assert not any(isinstance(m, q8.Int8Linear) for m in dit.modules())


def test_a_compiler_that_fails_leaves_blocks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    dit = small.dit("A")

    def spoiled(dit: torch.nn.Module) -> None:
        for block in dit.blocks:  # type: ignore[union-attr]
            block._compiled_call_impl = broken

    monkeypatch.setattr(module, "compile_blocks", spoiled)
    what = accelerate(dit, small.vae(4, 16), Acceleration(launch_compile=True), "cpu")
    assert "blocks are not compiled: the compiled block fails: NameError" in what.notices[0]
    assert all(block._compiled_call_impl is None for block in dit.blocks)


def test_a_compiled_block_that_errs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(dit: torch.nn.Module) -> None:
        block = dit.blocks[1]  # type: ignore[index,union-attr]
        block._compiled_call_impl = lambda *given: (2 * block.forward(*given)[0], None, None)

    monkeypatch.setattr(module, "compile_blocks", spoiled)
    dit = small.dit("A")
    assert "the compiled block is off by" in module._compiled(dit)
    assert dit.blocks[1]._compiled_call_impl is None


def test_recording_that_fails_is_left_out_at_load_not_at_the_first_frame(
    grant: ConsentGrant,
) -> None:
    class Failing:
        def record(self, work: object) -> object:
            raise RuntimeError("operation not permitted when stream is capturing")

    parts = model("omniavatar-1.3b")
    graphs = Graphs(Failing(), 10_000)  # type: ignore[arg-type]
    pipeline = WanPipeline(parts, applied=Applied(AccelerationPlan(graphs=graphs)))
    pipeline.prepare([SIZE])
    assert "nothing is compiled or recorded: RuntimeError: operation not" in pipeline.reason
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant)
    stream.push(speech(2.0))
    assert list(stream.step())


def test_what_is_no_fault_of_a_compiler_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_large(*_: object) -> None:
        raise ModelTooLarge("no room")

    monkeypatch.setattr(WanPipeline, "warm_up", too_large)
    with pytest.raises(ModelTooLarge):
        WanPipeline(model("omniavatar-1.3b")).prepare([SIZE])


@pytest.mark.parametrize(
    ("version", "cudnn", "dtype", "slow"),
    [
        ("2.9.0+cu128", 91002, torch.bfloat16, True),
        ("2.9.1", 91500, torch.bfloat16, False),
        ("2.10.0", 91002, torch.bfloat16, False),
        ("2.9.0", 91002, torch.float32, False),
    ],
)
def test_a_torch_without_16_bit_convolutions_is_known(
    version: str, cudnn: int, dtype: torch.dtype, slow: bool
) -> None:
    assert bool(slow_conv3d(dtype, CUDA, version, cudnn)) == slow
    assert not slow_conv3d(dtype, torch.device("cpu"), version, cudnn)


def test_the_decoder_runs_in_float32_where_torch_has_no_16_bit_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "slow_conv3d", lambda *_: "the autoencoder runs in float32")
    vae = small.vae(4, 16).to(torch.bfloat16)
    what = accelerate(small.dit("A"), vae, Acceleration(), "cpu")
    assert vae.dtype == torch.float32 and "the autoencoder runs in float32" in what.notices


# -- the check itself, and the clock -----------------------------------------------------------


def test_a_check_tells_how_far_off_a_path_is_and_refuses_what_it_cannot_judge() -> None:
    one = torch.ones(4)
    assert agree("x", lambda: 1.001 * one, lambda: one, 0.01) == pytest.approx(0.001, rel=1e-3)
    with pytest.raises(BackendRefused, match="x is off by nan"):
        agree("x", lambda: one * float("nan"), lambda: one, 0.01)
    with pytest.raises(BackendRefused, match="x fails: RuntimeError: out of resource"):
        agree("x", lambda: (_ for _ in ()).throw(RuntimeError("out of resource")),
              lambda: one, 0.01)  # fmt: skip
    assert seconds(lambda: one, torch.device("cpu")) >= 0


def test_stages_are_the_seconds_between_marks() -> None:
    times = iter([1.0, 1.5, 4.0, 4.25])
    stages = Stages(HostClock(lambda: next(times)))
    for stage in ("hear", "denoise", "decode"):
        stages.enter(stage)
    assert stages.seconds() == [("hear", 0.5), ("denoise", 2.5), ("decode", 0.25)]


def test_a_stage_is_measured_on_the_device_not_by_its_launch(grant: ConsentGrant) -> None:
    """A device that takes ten seconds from mark to mark, whatever the host's clock."""

    class Device:
        def __init__(self) -> None:
            self.queued = 0

        def mark(self) -> int:
            self.queued += 1
            return self.queued

        def between(self, begin: int, end: int) -> float:
            return 10.0 * (end - begin)

    pipeline = WanPipeline(model("omniavatar-1.3b"))
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant)
    stream._parts = replace(stream._parts, clock=Device())
    stream.push(speech(2.0))
    assert list(stream.step())
    told = stream.metrics()
    assert (told["hear"], told["denoise"], told["decode"]) == (10.0, 10.0, 10.0)
