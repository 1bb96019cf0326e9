"""Fused 8-bit layers are used where they agree and are faster, and refused with the reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.acceleration import linear_fusion
from pipeline.acceleration.float8 import to_float8
from pipeline.acceleration.linear_fusion import fuse
from pipeline.acceleration.quantize import Quantization, quantize


def model(method: str = "int8-dynamic") -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(32, 48), nn.Linear(48, 32)).requires_grad_(False)
    quantize(layers, Quantization(method, layers=("*",)))
    return layers


def kernels(spoil: float = 1.0) -> SimpleNamespace:
    """The kernels' face, computed readably."""

    def int8_linear(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, step: Any) -> Tensor:
        y = x.float() @ (weight.float() * scale[:, None]).t() + bias
        return (spoil * y).type_as(x)

    def round_rows(x: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
        small, scale = to_float8(x, 1)
        return small, spoil * scale

    return SimpleNamespace(int8_linear=int8_linear, round_rows=round_rows)


def timed(monkeypatch: pytest.MonkeyPatch, plain: float, fused: float) -> None:
    taken = iter([plain, fused])
    monkeypatch.setattr(linear_fusion, "seconds", lambda work, place: next(taken))
    monkeypatch.setattr(linear_fusion, "BOUND", 0.02)  # the stand-in does not round


@pytest.mark.parametrize("method", ["int8-dynamic", "float8"])
def test_a_fused_layer_that_agrees_and_is_faster_is_used_by_all(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    timed(monkeypatch, 2e-3, 1e-3)
    layers = model(method)
    told = fuse(layers, "cpu", kernels(), rows=40)
    assert told == "linears run fused: 1.00 ms a layer instead of 2.00"
    assert all(layer.fused is not None for layer in layers)
    assert torch.isfinite(layers(torch.randn(5, 32))).all()


def test_a_fused_layer_that_is_slower_is_refused_with_both_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed(monkeypatch, 1e-3, 2e-3)
    layers = model()
    assert "fused they take 2.00 ms, apart 1.00" in fuse(layers, "cpu", kernels(), rows=40)
    assert all(layer.fused is None for layer in layers)


@pytest.mark.parametrize("spoil", [1.1, float("nan")])
def test_a_fused_layer_that_errs_is_refused(monkeypatch: pytest.MonkeyPatch, spoil: float) -> None:
    timed(monkeypatch, 2e-3, 1e-3)
    layers = model()
    assert "the fused layer is off by" in fuse(layers, "cpu", kernels(spoil), rows=40)
    assert all(layer.fused is None for layer in layers)


def test_a_kernel_that_does_not_compile_is_a_reason_not_an_exception() -> None:
    def broken(*_: object) -> Tensor:
        raise NameError("Cannot access global variable Any")

    layers = model()
    told = fuse(layers, "cpu", SimpleNamespace(int8_linear=broken), rows=40)
    assert "torch's own passes" in told and "NameError: Cannot access global variable" in told
    assert all(layer.fused is None for layer in layers)


def test_without_quantised_layers_there_is_nothing_to_fuse() -> None:
    assert fuse(nn.Sequential(nn.Linear(4, 4)), "cpu") == "no quantised layers to fuse"
