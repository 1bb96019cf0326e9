"""Sparse-linear attention: the most informative key blocks exactly, the marginal ones linearly.

Queries and keys are cut into blocks, and blocks are scored by their means. For each block of
queries the best share ``kept`` of key blocks is attended to exactly, the worst share ``skipped``
not at all, and those between by their moments, linearised around the block's mean key:

    sum over i of exp(q.k_i) v_i  ~  exp(q.m + q.Vq / 2) (n v + C^T q)

with m, v the means of keys and values, V the keys' variance by channel, C the covariance of keys
and values, n the size. The first term is attention to one token a block; C is summed over the
marginal blocks once for each block of queries, so that it costs one product of D by D a query.
Exact for blocks whose keys are equal; no training needed. The division into exact, linear and
skipped blocks follows SLA (Zhang et al. 2025), whose linear branch is another one and is learned.

Letters: B batch, H heads, N queries, M keys, D head dim; I query blocks, J key blocks, E of them
exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

HIDDEN = -1e30  # of a score that does not count: finite, so that no row turns into NaN


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Shares of key blocks, and the tokens of a block (multiples of 16 for the kernel)."""

    kept: float
    skipped: float = 0.0
    query_block: int = 64
    key_block: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.kept <= 1 or not 0 <= self.skipped <= 1 - self.kept:
            raise ValueError(f"kept {self.kept} must lie in (0, 1], skipped {self.skipped} in "
                             f"[0, 1 - kept]")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pooled:
    """Key blocks by their moments, in the keys' own type: to move D x D of them in float32 costs
    more than is saved near 9,000 tokens."""

    key: Tensor  # (B, H, J, D) means
    spread: Tensor  # (B, H, J, D) variances by channel
    value: Tensor  # (B, H, J, D) means
    joint: Tensor  # (B, H, J, D, D) means of (k - mean) v^T
    size: Tensor  # (J,)


@dataclass(frozen=True, slots=True)
class Plan:
    """What each block of queries attends to."""

    exact: Tensor  # int64 (B, H, I, E), ascending
    marginal: Tensor  # bool (B, H, I, J)
    slope: Tensor  # (B, H, I, D, D): the marginal blocks' joint moments, weighted by block score


def _blocks(x: Tensor, size: int) -> Tensor:
    """(B, H, N, D) -> (B, H, blocks, size, D), padded with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % size)).unflatten(2, (-1, size))  # type: ignore[no-any-return]


def block_sizes(count: int, size: int, device: torch.device) -> Tensor:
    """Tokens of each block; the last one may be smaller."""
    starts = torch.arange(0, count, size, device=device)
    return (count - starts).clamp(max=size)


def pool(k: Tensor, v: Tensor, block: int) -> Pooled:
    """Moments of the key blocks."""
    sizes = block_sizes(k.shape[2], block, k.device)
    count = sizes.view(-1, 1).float()
    keys, values = _blocks(k.float(), block), _blocks(v.float(), block)
    mean, value = keys.sum(3) / count, values.sum(3) / count
    real = torch.arange(block, device=k.device) < sizes[:, None]  # (J, block)
    centred = (keys - mean[:, :, :, None]) * real[..., None]
    spread = centred.square().sum(3) / count
    shares = (centred / count[..., None]).type_as(k)  # divided first: float16 holds no large sum
    joint = shares.transpose(-1, -2) @ values.type_as(k)
    return Pooled(mean.type_as(k), spread.type_as(k), value.type_as(k), joint, sizes)


def plan(q: Tensor, pooled: Pooled, sparsity: Sparsity) -> Plan:
    """Rank the key blocks for each block of queries, and sum up the marginal ones."""
    block = sparsity.query_block
    sizes = block_sizes(q.shape[2], block, q.device).view(-1, 1).float()
    means = _blocks(q.float(), block).sum(3) / sizes
    scores = means @ pooled.key.float().transpose(-1, -2) * q.shape[-1] ** -0.5 + pooled.size.log()
    order = scores.argsort(-1, descending=True)
    total = order.shape[-1]
    kept, skipped = math.ceil(sparsity.kept * total), int(sparsity.skipped * total)
    marginal = torch.zeros_like(scores, dtype=torch.bool)
    marginal.scatter_(-1, order[..., kept : total - skipped], True)
    weight = torch.softmax(scores.masked_fill(~marginal, HIDDEN), -1) * marginal
    slope = (weight.type_as(pooled.joint) @ pooled.joint.flatten(-2)).unflatten(
        -1, (q.shape[-1], -1)
    )
    return Plan(order[..., :kept].sort(-1).values, marginal, slope)


def attend_sparse(q: Tensor, k: Tensor, v: Tensor, sparsity: Sparsity) -> Tensor:
    """q (B, H, N, D), k and v (B, H, M, D) -> (B, H, N, D), block of queries by block."""
    pooled = pool(k, v, sparsity.key_block)
    chosen = plan(q, pooled, sparsity)
    keys, values = _blocks(k, sparsity.key_block), _blocks(v, sparsity.key_block)
    real = torch.arange(sparsity.key_block, device=q.device) < pooled.size[:, None]
    out = [
        _one(part.float(), keys, values, real, pooled, chosen, i)
        for i, part in enumerate(q.split(sparsity.query_block, dim=2))
    ]
    return torch.cat(out, dim=2).type_as(q)


def _one(
    q: Tensor, keys: Tensor, values: Tensor, real: Tensor, pooled: Pooled, plan: Plan, i: int
) -> Tensor:
    """One block of queries: exact tokens and marginal blocks under one softmax, plus the slope."""
    scale = q.shape[-1] ** -0.5
    index = plan.exact[:, :, i]  # (B, H, E)
    k, v = (_pick(x, index).float().flatten(2, 3) for x in (keys, values))  # (B, H, E block, D)
    exact = (q @ k.transpose(-1, -2)) * scale
    exact = exact.masked_fill(~real[index].flatten(2)[:, :, None], HIDDEN)
    key, spread, value = pooled.key.float(), pooled.spread.float(), pooled.value.float()
    rough = (q @ key.transpose(-1, -2)) * scale + pooled.size.log()
    rough = rough + (q * q) @ spread.transpose(-1, -2) * (0.5 * scale * scale)
    rough = rough.masked_fill(~plan.marginal[:, :, i, None], HIDDEN)
    p = torch.softmax(torch.cat([exact, rough], dim=-1), -1)
    tokens, blocks = p.split([exact.shape[-1], rough.shape[-1]], dim=-1)
    slope = (q @ plan.slope[:, :, i].float()) * scale * blocks.sum(-1, keepdim=True)
    out: Tensor = tokens @ v + blocks @ value + slope
    return out


def _pick(blocks: Tensor, index: Tensor) -> Tensor:
    """Blocks (B, H, J, block, D) at ``index`` (B, H, E)."""
    wide = index[..., None, None].expand(*index.shape, *blocks.shape[3:])
    return blocks.gather(2, wide)
