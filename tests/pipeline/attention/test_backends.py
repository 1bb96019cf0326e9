"""Attention backends: what is there and why, and how one that errs is refused."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor

from pipeline.acceleration.float8 import LARGEST, through_float8, to_float8
from pipeline.attention import attend, backends
from pipeline.attention.backends import Backend, capability, check, function, select
from pipeline.attention.sparse import Sparsity
from pipeline.errors import BackendRefused
from tests.pipeline.models.wan.small import relative

SHAPE = (1, 2, 40, 32)
CPU = {"dtype": torch.float32, "device": "cpu"}


def test_every_backend_says_why_it_is_there_or_not() -> None:
    for name in backends.names():
        found = capability(name, "cpu")
        assert found.reason
        assert found.available == (name in ("sdpa", "sparse-linear"))
    assert "needs a CUDA device" in capability("flash3", "cpu").reason


def test_a_backend_nobody_knows_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendRefused, match="no attention is called 'flash9'; known are sdpa"):
        capability("flash9", "cpu")


def test_a_backend_that_is_not_there_is_refused_with_the_reason() -> None:
    with pytest.raises(BackendRefused, match="'sage' is not available: it needs a CUDA device"):
        function("sage", "cpu")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda y: y * float("nan"), "gives NaN"),
        (lambda y: y + torch.randn_like(y) * y.std(), "has cosine 0"),
        (lambda y: -y, "has cosine -1"),
    ],
)
def test_a_backend_that_errs_is_refused(spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BackendRefused, match=message):
        check(lambda *qkv: spoil(attend(*qkv)), "flash2", SHAPE, torch.float32, "cpu")


def test_a_backend_that_fails_is_refused_with_what_it_said() -> None:
    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("no kernel image for this device")

    with pytest.raises(BackendRefused, match="no kernel image"):
        check(broken, "flash2", SHAPE, torch.float32, "cpu")


def test_the_first_that_passes_is_taken_and_the_others_reasons_are_kept() -> None:
    chosen = select(["flash3", "sage", "sdpa"], SHAPE, **CPU)
    assert isinstance(chosen, Backend) and chosen.name == "sdpa"
    assert [text.split("'")[1] for text in chosen.refused] == ["flash3", "sage"]


def test_without_a_backend_that_passes_all_reasons_are_told() -> None:
    with pytest.raises(BackendRefused, match=r"'flash2' is not available.*'sage' is not"):
        select(["flash2", "sage"], SHAPE, **CPU)


def test_sparse_linear_runs_readably_without_a_device() -> None:
    chosen = select(["sparse-linear"], (1, 2, 130, 32), **CPU)
    assert chosen.name == "sparse-linear" and "readable form" in chosen.reason
    some = function("sparse-linear", "cpu", Sparsity(0.3))
    assert isinstance(some, partial) and some.keywords["sparsity"].kept == 0.3


# -- wrappers around packages that are not here: a stand-in with the package's own face ------------


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, name: str, run) -> None:  # type: ignore[no-untyped-def]
    fake = ModuleType(module)
    setattr(fake, name, run)
    monkeypatch.setitem(sys.modules, module, fake)


def qkv() -> list[Tensor]:
    return [torch.randn(SHAPE, dtype=torch.bfloat16) for _ in range(3)]


@pytest.mark.parametrize("with_sums", [False, True])
def test_flash_gets_tokens_before_heads_and_16_bit_floats(
    monkeypatch: pytest.MonkeyPatch, with_sums: bool
) -> None:
    def flash(q: Tensor, k: Tensor, v: Tensor) -> object:
        assert q.shape == (1, 40, 2, 32) and q.dtype == torch.bfloat16
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
        return (out, None) if with_sums else out

    stand_in(monkeypatch, "flash_attn", "flash_attn_func", flash)
    q, k, v = (x.float() for x in qkv())
    ours = backends._flash("flash_attn")(q, k, v)
    assert ours.dtype == torch.float32
    assert relative(ours, attend(q, k, v)) < 1e-2


def test_float8_flash_gets_a_scale_for_every_head(monkeypatch: pytest.MonkeyPatch) -> None:
    def flash(q: Tensor, k: Tensor, v: Tensor, **scales: Tensor) -> Tensor:
        assert {x.dtype for x in (q, k, v)} == {torch.float8_e4m3fn}
        wide = [
            x.float().transpose(1, 2) * scales[f"{n}_descale"][:, :, None, None]
            for n, x in zip("qkv", (q, k, v), strict=True)
        ]
        assert scales["q_descale"].shape == (1, 2)
        return attend(*wide).transpose(1, 2)

    stand_in(monkeypatch, "flash_attn_interface", "flash_attn_func", flash)
    q, k, v = qkv()
    assert check(backends._flash_float8(), "flash3-float8", SHAPE, torch.bfloat16, "cpu") > 0.995
    assert relative(backends._flash_float8()(q, k, v), attend(q, k, v)) < 0.1


def test_sage_gets_heads_before_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def sage(q: Tensor, k: Tensor, v: Tensor, tensor_layout: str, is_causal: bool) -> Tensor:
        assert tensor_layout == "HND" and not is_causal
        return attend(q, k, v)

    stand_in(monkeypatch, "sageattention", "sageattn", sage)
    q, k, v = qkv()
    assert torch.equal(backends._sage()(q, k, v), attend(q, k, v))


def test_float8_uses_its_whole_range_and_comes_back_near() -> None:
    x = torch.randn(3, 50) * torch.tensor([[1e-4], [1.0], [1e4]])
    small, scale = to_float8(x, 1)
    assert small.float().abs().amax(1).tolist() == [LARGEST] * 3
    assert scale.shape == (3, 1)
    assert relative(through_float8(x, 1), x) < 0.04
    assert torch.equal(through_float8(torch.zeros(2, 2), 1), torch.zeros(2, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", backends.names())
def test_what_a_gpu_has_passes_its_self_check(name: str) -> None:
    if not capability(name, "cuda").available:
        pytest.skip(capability(name, "cuda").reason)
    run = function(name, "cuda")
    check(run, name, (1, 12, 2304, 128), torch.bfloat16, "cuda")
