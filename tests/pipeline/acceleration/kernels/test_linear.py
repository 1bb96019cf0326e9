"""The kernels of 8-bit linears, by Triton's interpreter, against torch's own passes."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from torch import nn

from pipeline.acceleration.quantize import Int8Linear
from tests.pipeline.models.wan.small import relative


@pytest.fixture
def kernels() -> ModuleType:
    triton = pytest.importorskip("triton")
    if not triton.knobs.runtime.interpret:
        pytest.skip("Triton compiles here: the test on the device is the one that counts")
    torch.manual_seed(5)
    return importlib.import_module("pipeline.acceleration.linear_kernel")


@pytest.mark.parametrize("step", [None, 0.02])
def test_rows_are_rounded_as_torch_rounds_them(kernels: ModuleType, step: float | None) -> None:
    x = torch.randn(5, 50) * torch.tensor([[0.0], [1e-3], [1.0], [3.0], [1e3]])
    small, steps = kernels.round_rows(x, torch.int8, 127.0, step)
    exact = x.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127 if step is None else step
    assert torch.equal(small, (x / exact).clamp(-127, 127).round().to(torch.int8))
    assert steps.shape == (5, 1) and relative(steps, torch.as_tensor(exact).expand(5, 1)) < 1e-6


def test_what_lies_beyond_a_static_scale_is_cut_off_and_does_not_wrap(kernels: ModuleType) -> None:
    x = torch.tensor([[1e6, -1e6, 0.5, -0.5]])
    small, _ = kernels.round_rows(x, torch.int8, 127.0, 0.01)
    assert small.tolist() == [[127, -127, 50, -50]]


@pytest.mark.parametrize("rows", [1, 3, 130, 200])
@pytest.mark.parametrize(("inputs", "outputs"), [(128, 96), (80, 130)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_fused_layer_equals_torchs_passes(
    kernels: ModuleType, rows: int, inputs: int, outputs: int, bias: bool
) -> None:
    layer = Int8Linear(nn.Linear(inputs, outputs, bias=bias).requires_grad_(False))
    x = torch.randn(rows, inputs)
    exact = layer(x)
    layer.fused = kernels.int8_linear
    assert layer(x).shape == (rows, outputs)
    assert relative(layer(x), exact) < 1e-5


def test_a_static_layer_is_fused_with_its_own_step(kernels: ModuleType) -> None:
    layer = Int8Linear(nn.Linear(64, 40).requires_grad_(False), largest=1.5)
    x = 2 * torch.randn(2, 9, 64)
    exact = layer(x)
    layer.fused = kernels.int8_linear
    assert layer(x).shape == (2, 9, 40)
    assert relative(layer(x), exact) < 1e-5
