"""Sparse-linear attention as one Triton kernel; what it computes is in ``sparse.py``.

One program is one block of queries of one head. It runs an online softmax over its exact key
blocks, goes on over the means of its marginal blocks, and adds their slope. Scores, moments and
plan come from torch: they are a hundredth of the work. Under TRITON_INTERPRET=1 it runs on a CPU,
for tests, but not in bfloat16, whose bits the interpreter multiplies as integers.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.attention.sparse import Sparsity, plan, pool

POOLED_BLOCK: Final = 32  # key blocks whose means are read at once
SLOPE_BLOCK: Final = 32  # rows of the slope that are read at once
LAUNCH: Final = {"num_warps": 8, "num_stages": 2}  # fits 99 KiB of shared memory at head dim 128


# Triton compiles annotations as well, and knows none but its own: parameters carry no others.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    q_at, k_at, v_at, out_at, exact_at, marginal_at, mean_at, spread_at, value_at, slope_at,
    queries, keys, query_blocks, key_blocks, exact_count, scale,
    D: tl.constexpr, QB: tl.constexpr, KB: tl.constexpr, JB: tl.constexpr, DB: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    i, head = tl.program_id(0), tl.program_id(1).to(tl.int64)  # block of queries; batch and head
    d = tl.arange(0, D)
    rows = i * QB + tl.arange(0, QB)
    q_places = head * queries * D + rows[:, None] * D + d[None, :]
    inside = rows[:, None] < queries
    q = tl.load(q_at + q_places, mask=inside, other=0.0)
    most = tl.full([QB], -1e30, tl.float32)  # running maximum of the scores
    total = tl.zeros([QB], tl.float32)  # running sum of exponentials
    acc = tl.zeros([QB, D], tl.float32)
    plan_row = head * query_blocks + i

    for e in range(exact_count):
        block = tl.load(exact_at + plan_row * exact_count + e)
        columns = block * KB + tl.arange(0, KB)
        places = head * keys * D + columns[:, None] * D + d[None, :]
        seen = columns[:, None] < keys
        k = tl.load(k_at + places, mask=seen, other=0.0)
        v = tl.load(v_at + places, mask=seen, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        score = tl.where(columns[None, :] < keys, score, -1e30)
        highest = tl.maximum(most, tl.max(score, 1))
        fade = tl.exp(most - highest)
        p = tl.exp(score - highest[:, None])
        total = total * fade + tl.sum(p, 1)
        acc = acc * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        most = highest

    squares = (q.to(tl.float32) * scale) * (q.to(tl.float32) * scale)  # small: fit float16
    squares = squares.to(q.dtype)
    rough_total = tl.zeros([QB], tl.float32)  # the marginal blocks' share of `total`
    for start in range(0, key_blocks, JB):
        j = start + tl.arange(0, JB)
        there = j < key_blocks
        marginal = tl.load(marginal_at + plan_row * key_blocks + j, mask=there, other=0) != 0
        places = head * key_blocks * D + j[:, None] * D + d[None, :]
        mean = tl.load(mean_at + places, mask=there[:, None], other=0.0)
        spread = tl.load(spread_at + places, mask=there[:, None], other=0.0)
        value = tl.load(value_at + places, mask=there[:, None], other=0.0)
        size = tl.minimum(keys - j * KB, KB).to(tl.float32)
        score = tl.dot(q, tl.trans(mean), input_precision=PRECISION) * scale
        score += tl.dot(squares, tl.trans(spread), input_precision=PRECISION) * 0.5
        score += tl.log(tl.maximum(size, 1.0))[None, :]
        score = tl.where(marginal[None, :], score, -1e30)
        highest = tl.maximum(most, tl.max(score, 1))
        fade = tl.exp(most - highest)
        p = tl.where(marginal[None, :], tl.exp(score - highest[:, None]), 0.0)
        total = total * fade + tl.sum(p, 1)
        rough_total = rough_total * fade + tl.sum(p, 1)
        acc = acc * fade[:, None] + tl.dot(p.to(value.dtype), value, input_precision=PRECISION)
        most = highest

    bent = tl.zeros([QB, D], tl.float32)
    for start in range(0, D, DB):
        c = start + tl.arange(0, DB)
        part = tl.load(q_at + head * queries * D + rows[:, None] * D + c[None, :], mask=inside,
                       other=0.0)  # fmt: skip
        slope = tl.load(slope_at + plan_row * D * D + c[:, None] * D + d[None, :])
        bent += tl.dot(part, slope, input_precision=PRECISION)
    acc = (acc + bent * (scale * rough_total)[:, None]) / total[:, None]
    tl.store(out_at + q_places, acc.to(q.dtype), mask=inside)


def attend_sparse_fused(q: Tensor, k: Tensor, v: Tensor, sparsity: Sparsity) -> Tensor:
    """The same as ``sparse.attend_sparse``; D must be a power of two from 16."""
    batch, heads, queries, dim = q.shape
    if dim < 16 or dim & (dim - 1):
        raise ValueError(f"head dim {dim} must be a power of two of at least 16")
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    pooled = pool(k, v, sparsity.key_block)
    chosen = plan(q, pooled, sparsity)
    exact = chosen.exact.to(torch.int32).contiguous()
    query_blocks, exact_count = exact.shape[2:]
    out = torch.empty_like(q)
    precision = "ieee" if q.dtype == torch.float32 else "tf32"
    with torch.cuda.device_of(q):  # kernels are launched on the current device
        _kernel[(query_blocks, batch * heads)](
            q, k, v, out, exact, chosen.marginal.to(torch.int8).contiguous(),
            pooled.key.contiguous(), pooled.spread.contiguous(), pooled.value.contiguous(),
            chosen.slope.contiguous(),
            queries, k.shape[2], query_blocks, pooled.key.shape[2], exact_count, dim**-0.5,
            D=dim, QB=sparsity.query_block, KB=sparsity.key_block, JB=POOLED_BLOCK,
            DB=min(SLOPE_BLOCK, dim), PRECISION=precision, **LAUNCH,
        )  # fmt: skip
    return out
