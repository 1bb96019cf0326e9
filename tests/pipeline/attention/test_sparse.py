"""Sparse-linear attention: exact where it promises to be, near elsewhere, and the kernel agrees."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.attention import attend
from pipeline.attention.sparse import Sparsity, attend_sparse, plan, pool
from tests.pipeline.models.wan.small import relative


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(2)


def noise(queries: int, keys: int, dim: int = 32, heads: int = 2) -> list[Tensor]:
    return [torch.randn(1, heads, n, dim) for n in (queries, keys, keys)]


def smooth(rows: int = 16, frames: int = 3, dim: int = 32) -> list[Tensor]:
    """Queries and keys as images have them: neighbours alike, and each nearest to its own place."""
    field = torch.randn(3 * dim, 1, frames, rows, rows)
    field = torch.nn.functional.avg_pool3d(field, 3, 1, 1).view(3, 1, 1, dim, -1).transpose(-1, -2)
    q, k, v = field / field.std() + 0.3 * torch.randn(3, 1, 1, frames * rows * rows, dim)
    return [1.3 * q, 0.6 * k + 0.6 * q, v]


@pytest.mark.parametrize(("queries", "keys"), [(128, 128), (100, 130), (7, 65), (64, 3)])
def test_keeping_every_block_is_exact_attention(queries: int, keys: int) -> None:
    q, k, v = noise(queries, keys)
    assert relative(attend_sparse(q, k, v, Sparsity(1.0)), attend(q, k, v)) < 1e-5


def test_blocks_of_equal_keys_and_any_values_cost_nothing() -> None:
    q, k, v = noise(48, 128)
    k = k[:, :, ::16].repeat_interleave(16, dim=2)
    near = attend_sparse(q, k, v, Sparsity(0.1, 0.0, 16, 16))
    assert relative(near, attend(q, k, v)) < 1e-5


def test_the_linear_branch_recovers_most_of_what_leaving_blocks_out_loses() -> None:
    q, k, v = smooth()
    exact = attend(q, k, v)
    linear = relative(attend_sparse(q, k, v, Sparsity(0.25)), exact)
    dropped = relative(attend_sparse(q, k, v, Sparsity(0.25, 0.75)), exact)
    assert linear < 0.2 and dropped > 3 * linear


def test_more_kept_is_nearer() -> None:
    q, k, v = smooth()
    exact = attend(q, k, v)
    errors = [relative(attend_sparse(q, k, v, Sparsity(share)), exact) for share in (0.1, 0.4, 1.0)]
    assert errors[0] > errors[1] > errors[2]


def test_skipped_blocks_are_not_read() -> None:
    """A block far below all others gets NaN for values: nobody may notice."""
    q, k, v = noise(32, 64)
    q, k = q.abs(), k.abs()
    k[:, :, 16:32] *= -1
    v[:, :, 16:32] = 1e30
    out = attend_sparse(q, k, v, Sparsity(0.5, 0.25, 16, 16))
    assert out.abs().max() < 100


def test_each_block_is_exact_marginal_or_skipped() -> None:
    q, k, v = noise(100, 200)
    chosen = plan(q, pool(k, v, 16), Sparsity(0.3, 0.2, 32, 16))
    blocks = 13  # of 200 keys
    assert chosen.exact.shape[-2:] == (4, 4)
    assert (chosen.marginal.sum(-1) == blocks - 4 - 2).all()
    assert not chosen.marginal.gather(-1, chosen.exact).any()


@pytest.mark.parametrize(("kept", "skipped"), [(0.0, 0.0), (1.1, 0.0), (0.6, 0.5), (0.5, -0.1)])
def test_shares_that_make_no_sense_are_refused(kept: float, skipped: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Sparsity(kept, skipped)


# -- the fused kernel ---------------------------------------------------------------------------

KERNEL = "pipeline.attention.sparse_kernel"
Fused = Callable[[Tensor, Tensor, Tensor, Sparsity], Tensor]


@pytest.fixture
def fused() -> Fused:
    """The kernel, run by Triton's interpreter, which ``tests/conftest.py`` asks for."""
    triton = pytest.importorskip("triton")
    if not triton.knobs.runtime.interpret:
        pytest.skip("Triton compiles here: the test on the device is the one that counts")
    return importlib.import_module(KERNEL).attend_sparse_fused  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("queries", "keys", "dim", "sparsity", "dtype", "bound"),
    [
        (70, 75, 32, Sparsity(0.4, 0.2, 32, 16), torch.float32, 1e-5),
        (40, 90, 16, Sparsity(0.2, 0.0, 16, 32), torch.float32, 1e-5),
        (33, 48, 16, Sparsity(1.0, 0.0, 16, 16), torch.float32, 1e-5),
        (40, 60, 32, Sparsity(0.5, 0.1, 32, 16), torch.float16, 2e-3),
    ],
)
def test_the_kernel_equals_the_readable_form(
    fused: Fused, queries: int, keys: int, dim: int, sparsity: Sparsity, dtype: torch.dtype,
    bound: float,
) -> None:  # fmt: skip
    q, k, v = (x.to(dtype) for x in noise(queries, keys, dim))
    ours = fused(q, k, v, sparsity)
    assert ours.dtype == dtype
    assert relative(ours, attend_sparse(q, k, v, sparsity)) < bound


def test_the_kernel_refuses_a_head_that_is_no_power_of_two(fused: Fused) -> None:
    with pytest.raises(ValueError, match="head dim 24 must be a power of two"):
        fused(*noise(16, 16, 24), Sparsity(0.5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_kernel_equals_the_readable_form(dtype: torch.dtype) -> None:
    kernel = importlib.import_module(KERNEL)
    q, k, v = (x.to("cuda", dtype) for x in noise(1000, 1500, 128, heads=12))
    sparsity = Sparsity(0.25, 0.2)
    ours = kernel.attend_sparse_fused(q, k, v, sparsity)
    assert relative(ours, attend_sparse(q, k, v, sparsity)) < 1e-2
