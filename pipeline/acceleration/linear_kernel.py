"""8-bit linear layers in two Triton kernels: rows to 8 bits, and the product with what follows it.

Run one by one, scaling, rounding and adding the bias read and write every activation several
times, an int32 of it among them, and cost more than the 8-bit product saves. Here a row is read
once to be scaled and rounded, and the product leaves in the type of the input, scaled, with its
bias. float8 products are torch's own, which scale and add by themselves; they share the first
kernel alone.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

# Three stages of two tiles of 128 x 128 bytes: 96 KiB, under the 99 of consumer cards.
TILE: Final = {"BM": 128, "BN": 128, "BK": 128, "GROUP": 8}
LAUNCH: Final = {"num_warps": 8, "num_stages": 3}
ROUND: Final = 12582912.0  # 1.5 * 2^23: adding and taking it away rounds to even


# Triton compiles annotations as well, and knows none but its own: parameters carry no others.
@triton.jit  # type: ignore[untyped-decorator]
def _round_kernel(  # type: ignore[no-untyped-def]
    x_at, small_at, step_at, width, given,
    W: tl.constexpr, LARGEST: tl.constexpr, DYNAMIC: tl.constexpr, WHOLE: tl.constexpr,
    MAGIC: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, W)
    x = tl.load(x_at + row * width + c, mask=c < width, other=0.0).to(tl.float32)
    step = given
    if DYNAMIC:
        step = tl.maximum(tl.max(tl.abs(x), 0), 1e-12) / LARGEST
    tl.store(step_at + row, step)
    y = tl.minimum(tl.maximum(x / step, -LARGEST), LARGEST)
    if WHOLE:
        y = (y + MAGIC) - MAGIC
    tl.store(small_at + row * width + c, y.to(small_at.dtype.element_ty), mask=c < width)


@triton.jit  # type: ignore[untyped-decorator]
def _product_kernel(  # type: ignore[no-untyped-def]
    x_at, weight_at, step_at, scale_at, bias_at, out_at, rows, outputs, inputs,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
    EVEN: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    # Tiles that share rows run near each other, so that the cache serves them.
    tiles_m, tiles_n = tl.cdiv(rows, BM), tl.cdiv(outputs, BN)
    tile, band = tl.program_id(0), GROUP * tiles_n
    first = tile // band * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    m = (first + tile % band % height) * BM + tl.arange(0, BM)
    n = (tile % band // height) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    x_row = (m % rows).to(tl.int64)  # rows past the end repeat others and are not stored
    w_row = (n % outputs).to(tl.int64)
    x_places = x_at + x_row[:, None] * inputs + k[None, :]
    w_places = weight_at + w_row[None, :] * inputs + k[:, None]
    acc = tl.zeros([BM, BN], tl.int32)
    for start in range(0, inputs, BK):
        if EVEN:
            x, w = tl.load(x_places), tl.load(w_places)
        else:
            left = inputs - start
            x = tl.load(x_places, mask=k[None, :] < left, other=0)
            w = tl.load(w_places, mask=k[:, None] < left, other=0)
        acc = tl.dot(x, w, acc, out_dtype=tl.int32)
        x_places += BK
        w_places += BK
    step = tl.load(step_at + m, mask=m < rows, other=0.0)
    scale = tl.load(scale_at + n, mask=n < outputs, other=0.0)
    y = acc.to(tl.float32) * step[:, None] * scale[None, :]
    if BIASED:
        y += tl.load(bias_at + n, mask=n < outputs, other=0.0)[None, :]
    places = out_at + m.to(tl.int64)[:, None] * outputs + n[None, :]
    inside = (m[:, None] < rows) & (n[None, :] < outputs)
    tl.store(places, y.to(out_at.dtype.element_ty), mask=inside)


def round_rows(
    x: Tensor, dtype: torch.dtype, largest: float, step: float | None = None
) -> tuple[Tensor, Tensor]:
    """Rows (N, I) in int8 or e4m3, and the float32 step (N, 1) of each: ``step``, or its own."""
    rows = x.contiguous()
    small = torch.empty_like(rows, dtype=dtype)
    steps = torch.empty((len(rows), 1), dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):  # kernels are launched on the current device
        _round_kernel[(len(rows),)](
            rows, small, steps, rows.shape[1], 1.0 if step is None else step,
            W=triton.next_power_of_2(rows.shape[1]), LARGEST=largest, DYNAMIC=step is None,
            WHOLE=dtype == torch.int8, MAGIC=ROUND, num_warps=8,
        )  # fmt: skip
    return small, steps


def int8_linear(
    x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, step: float | None
) -> Tensor:
    """(N, I) by int8 (O, I) -> (N, O) in the type of ``x``; ``step`` None: one a row."""
    small, steps = round_rows(x, torch.int8, 127.0, step)
    (rows, inputs), outputs = small.shape, len(weight)
    out = torch.empty((rows, outputs), dtype=x.dtype, device=x.device)
    tiles = triton.cdiv(rows, TILE["BM"]) * triton.cdiv(outputs, TILE["BN"])
    with torch.cuda.device_of(x):
        _product_kernel[(tiles,)](
            small, weight, steps, scale, scale if bias is None else bias, out, rows, outputs,
            inputs, **TILE, EVEN=inputs % TILE["BK"] == 0, BIASED=bias is not None, **LAUNCH,
        )  # fmt: skip
    return out
