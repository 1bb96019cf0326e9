"""Channel norm, gain and SiLU of the autoencoder as one Triton kernel, with channels last."""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS: Final = 4  # pixels a program


# Triton compiles annotations as well, and knows none but its own: parameters carry no others.
@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    x_at, gamma_at, out_at, rows, channels, root, C: tl.constexpr, R: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    c = tl.arange(0, C)
    there = (row[:, None] < rows) & (c[None, :] < channels)
    places = row[:, None] * channels + c[None, :]
    x = tl.load(x_at + places, mask=there, other=0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(x * x, 1))
    unit = x / tl.maximum(length, 1e-12)[:, None] * root
    gamma = tl.load(gamma_at + c, mask=c < channels, other=0.0).to(tl.float32)
    y = unit * gamma[None, :]
    y = y / (1.0 + tl.exp(-y))
    tl.store(out_at + places, y.to(x_at.dtype.element_ty), mask=there)


def norm_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """(B, C, ...) -> the same shape, with channels last in memory."""
    rows = x.movedim(1, -1).contiguous()
    out = torch.empty_like(rows)
    channels = rows.shape[-1]
    count = rows.numel() // channels
    wide = triton.next_power_of_2(channels)
    with torch.cuda.device_of(x):  # kernels are launched on the current device
        _kernel[(triton.cdiv(count, ROWS),)](
            rows, gamma.flatten(), out, count, channels, channels**0.5, C=wide, R=ROWS
        )
    return out.movedim(-1, 1)
