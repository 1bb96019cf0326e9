"""8-bit linear layers: near what they replace, really 8 bits, and refused where they err."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from pipeline.acceleration import quantize as q8
from pipeline.acceleration.quantize import (
    Float8Linear,
    Int8Linear,
    Quantization,
    calibrate,
    check,
    chosen,
    quantize,
    quantize_torchao,
)
from pipeline.errors import BackendRefused
from tests.pipeline.models.wan import small


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(6)


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (Int8Linear, 0.015),
        (lambda linear: Int8Linear(linear, 4.5), 0.02),
        (Float8Linear, 0.05),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_quantised_layer_is_near_the_layer(make, bound: float, bias: bool) -> None:  # type: ignore[no-untyped-def]
    linear = nn.Linear(128, 96, bias=bias).requires_grad_(False)
    x = torch.randn(2, 40, 128)
    ours = make(linear)(x)
    assert ours.shape == (2, 40, 96) and ours.dtype == x.dtype
    assert small.relative(ours, linear(x)) < bound


def test_weights_take_a_quarter_of_the_bytes() -> None:
    linear = nn.Linear(512, 512)
    for twin in (Int8Linear(linear), Float8Linear(linear)):
        assert twin.weight.nbytes * 4 == linear.weight.nbytes


def test_each_token_has_its_own_dynamic_scale() -> None:
    linear = nn.Linear(64, 64).requires_grad_(False)
    x = torch.randn(3, 64) * torch.tensor([[1e-3], [1.0], [1e3]])
    ours = Int8Linear(linear)(x) - linear.bias
    exact = linear(x) - linear.bias
    assert all(small.relative(a, b) < 0.02 for a, b in zip(ours, exact, strict=True))
    assert torch.equal(Int8Linear(linear)(torch.zeros(1, 64))[0], linear.bias)


def test_a_static_scale_cuts_off_what_lies_beyond_it() -> None:
    linear = nn.Linear(16, 16, bias=False).requires_grad_(False)
    layer, x = Int8Linear(linear, 1.0), torch.full((1, 16), 3.0)
    assert small.relative(layer(x), linear(x / 3)) < 0.02


@pytest.mark.parametrize("factor", [1.5, 3.0, 40.0, -2.1, -300.0])
def test_what_is_beyond_a_static_scale_never_wraps_around(factor: float) -> None:
    """In int8 128 is -128: what is not cut off comes back with the other sign."""
    linear = nn.Linear(16, 16, bias=False).requires_grad_(False)
    x = torch.full((1, 16), factor)
    assert small.relative(Int8Linear(linear, 1.0)(x), linear(x / abs(factor))) < 0.012


def dit_run(model: nn.Module, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x, text, audio = (
        torch.randn(shape, generator=generator)
        for shape in ((1, 33, 2, 4, 4), (1, 5, 20), (1, 2, 56))
    )
    told = model.encode(text, audio=audio)  # type: ignore[operator]
    return model(x, torch.tensor([600.0]), told)  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static", "float8"])
def test_a_transformer_stays_near_itself(method: str) -> None:
    model = small.dit("A")
    exact = dit_run(model)
    scales: Mapping[str, float] = {}
    if method == "int8-static":
        scales = calibrate(model, Quantization("int8-dynamic"), lambda: dit_run(model, 3))
    names = quantize(model, Quantization(method, scales=scales))
    assert len(names) == 6 * 10
    kinds = {type(m) for n, m in model.named_modules() if n in names}
    assert kinds == {Float8Linear if method == "float8" else Int8Linear}
    assert 1e-4 < small.relative(dit_run(model), exact) < 0.15


def test_the_fast_product_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = small.dit("A"), []
    quantize(model, Quantization("int8-dynamic", keep=("*.cross_attn.*",)))
    plain = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: calls.append(a.dtype) or plain(a, b))
    dit_run(model)
    assert calls == [torch.int8] * 6 * 6


def test_layers_that_are_kept_stay_as_they_are() -> None:
    model = small.dit("A")
    how = Quantization("int8-dynamic", keep=("blocks.0.*", "*.ffn.2"))
    names = quantize(model, how)
    assert not any(n.startswith("blocks.0.") or n.endswith("ffn.2") for n in names)
    assert isinstance(model.blocks[0].self_attn.q, nn.Linear)
    assert isinstance(model.blocks[1].ffn[2], nn.Linear)
    assert isinstance(model.text_embedding[0], nn.Linear)  # outside the blocks


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no layer fits \['blocks.9.\*'\]"):
        quantize(small.dit("A"), Quantization("int8-dynamic", keep=("blocks.9.*",)))
    with pytest.raises(ValueError, match="0 layers are quantised"):
        quantize(small.dit("A"), Quantization("int8-dynamic", layers=("nothing.*",)))


def test_static_scales_must_cover_every_layer() -> None:
    model = small.dit("A")
    with pytest.raises(ValueError, match="layers have no calibrated scale"):
        quantize(model, Quantization("int8-static", scales={"blocks.0.ffn.0": 1.0}))
    with pytest.raises(ValueError, match="int8-static with 0 calibrated scales"):
        Quantization("int8-static")
    with pytest.raises(ValueError, match="must be one of"):
        Quantization("int4")


def test_calibration_finds_the_largest_input_of_each_layer_and_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).requires_grad_(False)
    x = torch.tensor([[0.1, -7.0, 0.2, 0.3]])
    layers = Quantization("int8-dynamic", layers=("*",))
    scales = calibrate(model, layers, lambda: (model(x), model(x / 2)))
    assert scales["0"] == 7.0 and set(scales) == {"0", "1"}
    assert calibrate(model, layers, lambda: model(x), share=0.75)["0"] == pytest.approx(0.3)
    assert all(not m._forward_pre_hooks for m in model.modules())


def test_a_layer_that_errs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(32, 32)
    assert check("int8-dynamic", linear) > 0.999
    monkeypatch.setattr(q8, "_int_product", lambda x, w: torch.zeros(len(x), len(w)))
    with pytest.raises(BackendRefused, match="has cosine"):
        check("int8-dynamic", linear)

    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("not on this device")

    monkeypatch.setattr(q8, "_int_product", broken)
    with pytest.raises(BackendRefused, match="not on this device"):
        check("int8-dynamic", linear)


@pytest.mark.parametrize(("capability", "refused"), [((8, 6), True), ((8, 9), False)])
def test_float8_is_judged_on_the_device_that_computes_not_where_weights_lie(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], refused: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    monkeypatch.setattr(q8, "moved", lambda layer, place: layer)
    plain = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, device=None, **k: plain(*a, **k))
    if refused:
        with pytest.raises(BackendRefused, match=r"needs compute capability \(8, 9\), cuda:1 has"):
            quantize(small.dit("A"), Quantization("float8"), "cuda:1")
    else:
        assert quantize(small.dit("A"), Quantization("float8"), "cuda:1")


@pytest.mark.filterwarnings("ignore")
def test_torchao_quantises_the_same_layers_and_comes_as_near() -> None:
    pytest.importorskip("torchao")
    ours, theirs, exact = small.dit("A"), small.dit("A"), dit_run(small.dit("A"))
    how = Quantization("int8-dynamic", keep=("*.ffn.*",))
    assert quantize_torchao(theirs, how) == sorted(name for name, _ in chosen(ours, how))
    quantize(ours, how)
    errors = [small.relative(dit_run(model), exact) for model in (ours, theirs)]
    assert 0.5 < errors[0] / errors[1] < 2


@pytest.mark.filterwarnings("ignore")
def test_what_torchao_cannot_do_is_refused_with_its_reason() -> None:
    pytest.importorskip("torchao")
    how = Quantization("int8-static", scales={"x": 1.0})
    with pytest.raises(BackendRefused, match="dynamic scales"):
        quantize_torchao(small.dit("A"), how)
    if not torch.cuda.is_available():
        with pytest.raises(BackendRefused, match="capability"):
            quantize_torchao(small.dit("A"), Quantization("float8"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["int8-dynamic", "float8"])
@pytest.mark.parametrize("rows", [1, 40, 500])
def test_a_quantised_layer_on_a_gpu_is_near_the_layer(method: str, rows: int) -> None:
    linear = nn.Linear(512, 256).to("cuda", torch.bfloat16).requires_grad_(False)
    x = torch.randn(rows, 512, device="cuda", dtype=torch.bfloat16)
    assert small.relative(q8.make(method, linear)(x), linear(x)) < 0.06
