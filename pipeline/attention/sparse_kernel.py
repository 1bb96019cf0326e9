"""Sparse-linear attention as one Triton kernel; what it computes is in ``sparse.py``.

One program is one block of queries of one head. It runs an online softmax over its exact key
blocks, goes on over the means of its marginal blocks, and adds their slope. Scores, moments and
plan come from torch: they are a hundredth of the work. Under TRITON_INTERPRET=1 it runs on a CPU,
for tests, but not in bfloat16, whose bits the interpreter multiplies as integers.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.attention.sparse import Sparsity, plan, pool

POOLED_BLOCK = 32  # key blocks whose means are read at once


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(
    q_at: Any, k_at: Any, v_at: Any, out_at: Any, exact_at: Any, marginal_at: Any,
    mean_at: Any, spread_at: Any, value_at: Any, slope_at: Any,
    heads: Any, queries: Any, keys: Any, query_blocks: Any, key_blocks: Any, exact_count: Any,
    scale: Any,
    D: tl.constexpr, QB: tl.constexpr, KB: tl.constexpr, JB: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    i, head = tl.program_id(0), tl.program_id(1).to(tl.int64)  # block of queries; batch and head
    d = tl.arange(0, D)
    rows = i * QB + tl.arange(0, QB)
    q_places = head * queries * D + rows[:, None] * D + d[None, :]
    inside = rows[:, None] < queries
    q = tl.load(q_at + q_places, mask=inside, other=0.0)
    wide = q.to(tl.float32)
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
        score = tl.dot(wide, tl.trans(mean), input_precision=PRECISION) * scale
        bend = tl.dot(wide * wide, tl.trans(spread), input_precision=PRECISION)
        score += bend * (0.5 * scale * scale) + tl.log(tl.maximum(size, 1.0))[None, :]
        score = tl.where(marginal[None, :], score, -1e30)
        highest = tl.maximum(most, tl.max(score, 1))
        fade = tl.exp(most - highest)
        p = tl.where(marginal[None, :], tl.exp(score - highest[:, None]), 0.0)
        total = total * fade + tl.sum(p, 1)
        rough_total = rough_total * fade + tl.sum(p, 1)
        acc = acc * fade[:, None] + tl.dot(p, value, input_precision=PRECISION)
        most = highest

    slope = tl.load(slope_at + plan_row * D * D + d[:, None] * D + d[None, :])
    bent = tl.dot(wide, slope, input_precision=PRECISION) * scale
    acc = (acc + bent * rough_total[:, None]) / total[:, None]
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
    _kernel[(query_blocks, batch * heads)](
        q, k, v, out, exact, chosen.marginal.to(torch.int8).contiguous(),
        pooled.key.contiguous(), pooled.spread.contiguous(), pooled.value.contiguous(),
        chosen.slope.contiguous(),
        heads, queries, k.shape[2], query_blocks, pooled.key.shape[2], exact_count,
        dim**-0.5,
        D=dim, QB=sparsity.query_block, KB=sparsity.key_block, JB=POOLED_BLOCK,
        PRECISION=precision,
    )  # fmt: skip
    return out
