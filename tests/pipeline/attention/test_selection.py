"""An attention is used only after it ran here beside sdpa; whatever it does instead is a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.attention import attend, backends
from pipeline.attention.backends import capability, function, select, with_sparsity
from pipeline.attention.sparse import Sparsity, attend_sparse
from pipeline.errors import BackendRefused

SHAPE = (1, 2, 96, 32)
CPU: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}


@pytest.fixture(autouse=True)
def _any_device_will_do(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(backends, "_missing_device", lambda *_: "")
    capability.cache_clear()
    yield
    capability.cache_clear()


def package(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    fake = ModuleType(name)
    for key, value in functions.items():
        setattr(fake, key, value)
    monkeypatch.setitem(sys.modules, name, fake)


def flash(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return change(attend(*(x.transpose(1, 2) for x in (q, k, v)))).transpose(1, 2)

    return run


def test_what_agrees_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, "flash_attn", flash_attn_func=flash(lambda y: y))
    chosen = select(["flash2", "sdpa"], SHAPE, **CPU)
    assert chosen.name == "flash2" and not chosen.refused


@pytest.mark.parametrize("change", [lambda y: 0 * y, lambda y: y.flip(2), lambda y: y / 0])
def test_what_errs_is_never_selected(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor]
) -> None:
    package(monkeypatch, "flash_attn", flash_attn_func=flash(change))
    chosen = select(["flash2", "sdpa"], SHAPE, **CPU)
    assert chosen.name == "sdpa" and "flash2" in chosen.refused[0]


def test_what_errs_with_fewer_queries_than_keys_is_never_selected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A past makes keys outnumber queries; noise as long as its keys does not show it."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash(lambda y: y)(q, k[:, : q.shape[1]], v[:, : q.shape[1]])

    package(monkeypatch, "flash_attn", flash_attn_func=run)
    assert select(["flash2", "sdpa"], SHAPE, **CPU).name == "sdpa"


def test_flash_attention_4_alone_is_no_flash_attention_2(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, "flash_attn")
    chosen = select(["flash2", "sdpa"], SHAPE, **CPU)
    assert chosen.name == "sdpa" and "flash_attn has no flash_attn_func" in chosen.refused[0]


def test_flash_attention_4_is_taken_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, "flash_attn")
    package(monkeypatch, "flash_attn.cute", flash_attn_func=flash(lambda y: y))
    assert select(["flash2", "flash4", "sdpa"], SHAPE, **CPU).name == "flash4"


def test_a_package_that_cannot_be_imported_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(BackendRefused, match="flash_attn does not import"):
        function("flash2", "cpu")


def test_a_function_that_vanishes_while_it_is_loaded_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package(monkeypatch, "flash_attn", flash_attn_func=flash(lambda y: y))
    assert capability("flash2", "cpu").available
    package(monkeypatch, "flash_attn")
    chosen = select(["flash2", "sdpa"], SHAPE, **CPU)
    assert chosen.name == "sdpa" and "does not load" in chosen.refused[0]


# -- sparse-linear: the fused form, held to the readable one -----------------------------------


def fused(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor]) -> None:
    def run(q: Tensor, k: Tensor, v: Tensor, sparsity: Sparsity) -> Tensor:
        out = attend_sparse(q, k, v, sparsity)
        return out if sparsity.kept == 1 else change(out)

    monkeypatch.setattr(backends, "_attend_fused", run)


def test_the_fused_kernel_is_taken_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    fused(monkeypatch, lambda y: y)
    chosen = select(["sparse-linear"], (1, 2, 256, 32), **CPU)
    assert "fused kernel agrees" in chosen.reason
    some = with_sparsity(chosen.attend, Sparsity(0.3))
    assert isinstance(some, partial) and some.func is backends._attend_fused
    assert some.keywords["sparsity"].kept == 0.3


def test_a_fused_kernel_whose_linear_part_errs_makes_way_for_the_readable_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keeping every block, which sdpa can judge, does not touch the linear part."""
    fused(monkeypatch, lambda y: 1.2 * y)
    chosen = select(["sparse-linear"], (1, 2, 256, 32), **CPU)
    assert "the readable form, not the fused one: the fused kernel is off by" in chosen.reason
    assert isinstance(chosen.attend, partial) and chosen.attend.func is attend_sparse


def test_only_sparse_attention_has_a_share() -> None:
    with pytest.raises(ValueError, match="only sparse-linear"):
        with_sparsity(attend, Sparsity(0.5))


def test_a_card_that_is_too_old_or_too_new_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    capability.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (12, 0))
    assert "needs compute capability 9.x, cuda:1 has 12.0" in capability("flash3", "cuda:1").reason
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    capability.cache_clear()
    assert "has 7.5" in capability("sage", "cuda").reason
