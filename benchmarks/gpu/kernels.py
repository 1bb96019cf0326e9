"""Kernels, attention and 8-bit linears against torch's own: do they run here, do they agree, do
they pay."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.gpu.bench import Absent, Bench
from benchmarks.gpu.subjects import decoder
from pipeline.acceleration.linear_fusion import fuse
from pipeline.acceleration.quantize import Quantization, make, quantize_torchao
from pipeline.attention import attend, backends
from pipeline.attention.sparse import Sparsity, attend_sparse, plan, pool
from pipeline.models.wan.accelerate import slow_conv3d
from pipeline.models.wan.vae.norms import kernel_or_torch, norm_silu


def machine(b: Bench) -> None:
    """Versions, and the ceilings beside which everything else is to be read."""
    version, cudnn = torch.__version__, torch.backends.cudnn.version() or 0
    b.row("torch", note=f"{version}, CUDA {torch.version.cuda}, cuDNN {cudnn}")
    b.need_cuda()
    b.row("device", note=str(torch.cuda.get_device_properties(b.device)))
    told = slow_conv3d(torch.bfloat16, b.device, version, cudnn)
    b.row("16-bit 3D convolutions", good=not told, note=told)
    a, i = b.noise(8192, 8192), torch.ones(8192, 8192, dtype=torch.int8, device=b.device)
    work = 2 * 8192**3 / 1e12
    b.row("bfloat16 product", work / b.seconds(lambda: a @ a), "TFLOP/s")
    b.row("int8 product", work / b.seconds(lambda: torch._int_mm(i, i.t())), "TOP/s")
    host = torch.empty(2**29, dtype=torch.uint8).pin_memory()
    there = torch.empty_like(host, device=b.device)
    taken = b.seconds(lambda: there.copy_(host, non_blocking=True))
    b.row("pinned memory to the device", 0.5 / taken, "GiB/s")


def norm_kernel(b: Bench) -> None:
    """Norm and SiLU in one kernel, at every width of the decoder."""
    fused, told = kernel_or_torch(decoder(b), b.device)
    b.row("used", good="one kernel" in told if b.cuda else None, note=told)
    for width in (8, 12) if b.tiny else (96, 192, 384):
        x = b.noise(1, width, 2, 9, 17).to(memory_format=torch.channels_last_3d)
        gamma = b.noise(width, 1, 1, 1)
        bound = 0.02 if b.cuda else 1e-5
        b.near(f"{width} channels", fused(x, gamma), norm_silu(x.float(), gamma.float()), bound)
    side = 8 if b.tiny else 512
    x = b.noise(1, 96, 4, side, side).to(memory_format=torch.channels_last_3d)
    gamma = b.noise(96, 1, 1, 1)
    apart, joined = (b.seconds(lambda f=f: f(x, gamma)) for f in (norm_silu, fused))  # type: ignore[misc]
    b.row("speed over torch's passes", apart / joined, "times")


def sparse_kernel(b: Bench) -> None:
    """Sparse-linear attention: the kernel against its readable form, and its speed beside sdpa."""
    heads, dim, tokens = (2, 32, 96) if b.tiny else (12, 128, 9216)
    chosen = backends.select(["sparse-linear"], (1, heads, 256, dim), b.half, str(b.device))
    b.row("used", good="agrees" in chosen.reason if b.cuda else None, note=chosen.reason)
    q, k, v = (b.noise(1, heads, tokens, dim) for _ in range(3))
    for kept in (1.0, 0.25):
        share = Sparsity(kept, min(0.2, 1 - kept))
        ours = backends.with_sparsity(chosen.attend, share)(q, k, v)
        b.near(f"{kept:.0%} kept", ours, attend_sparse(q, k, v, share), 0.03)
    full = b.seconds(lambda: attend(q, k, v))
    for kept in (0.5, 0.25, 0.1):
        share = Sparsity(kept)
        run = backends.with_sparsity(chosen.attend, share)
        taken = b.seconds(lambda run=run: run(q, k, v))  # type: ignore[misc]
        planned = b.seconds(lambda s=share: plan(q, pool(k, v, 64), s))  # type: ignore[misc]
        b.bar(f"{kept:.0%} kept over sdpa", full / taken, "times", 1.0,
              f"{1e3 * taken:.2f} ms, of which planning {1e3 * planned:.2f}")  # fmt: skip


def sparse_float32(b: Bench) -> None:
    """float32 inputs go through 16 bits, as in every fused attention."""
    q, k, v = (b.noise(1, 2, 96, 32 if b.tiny else 128, dtype=torch.float32) for _ in range(3))
    chosen = backends.select(["sparse-linear"], (1, 2, 96, q.shape[3]), q.dtype, str(b.device))
    share = Sparsity(0.4, 0.2)
    ours = backends.with_sparsity(chosen.attend, share)(q, k, v)
    b.near("float32 inputs", ours, attend_sparse(q, k, v, share), 0.03)


def attention(b: Bench) -> None:
    """Every backend: there or not, noise, peaked scores, fewer queries than keys, speed."""
    heads, tokens, dim = (2, 64, 32) if b.tiny else (12, 9216, 128)
    q, k, v = (b.noise(1, heads, tokens, dim) for _ in range(3))
    full = b.seconds(lambda: attend(q, k, v))
    b.row("sdpa", 1e3 * full, "ms")
    for name in backends.names()[1:]:

        def one(name: str = name) -> None:
            found = backends.capability(name, str(b.device))
            if not found.available:
                raise Absent(found.reason)
            run = backends.select([name], (1, heads, 64, dim), b.half, str(b.device)).attend
            bound = 0.1 if name in ("sage", "flash3-float8") else 0.02
            for what, queries in (("noise", q), ("peaked", q + 3 * k), ("few", q[:, :, ::3])):
                exact = attend(queries.float(), k.float(), v.float())
                b.near(f"{name}: {what}", run(queries, k, v), exact, bound)
            b.row(f"{name} over sdpa", full / b.seconds(lambda: run(q, k, v)), "times")

        b.attempt(name, one)


def linears(b: Bench) -> None:
    """8-bit layers at the models' widths: error, and speed with all that surrounds the product."""
    sizes = ((64, 128, 96),) if b.tiny else ((9216, 1536, 8960), (12096, 5120, 13824))
    for rows, inputs, outputs in sizes:
        plain = nn.Linear(inputs, outputs, device=b.device, dtype=b.half).requires_grad_(False)
        x = b.noise(rows, inputs)
        exact, before = plain(x), b.seconds(lambda p=plain, x=x: p(x))  # type: ignore[misc]
        for method in ("int8-dynamic", "int8-static", "float8"):

            def one(method: str = method, plain: nn.Linear = plain, x: torch.Tensor = x,
                    exact: torch.Tensor = exact, before: float = before) -> None:  # fmt: skip
                largest = float(x.abs().max()) if method == "int8-static" else None
                layer = nn.Sequential(make(method, plain, largest))
                size = f"{method} {len(x)} x {plain.in_features}"
                b.near(size, layer(x), exact, 0.06)
                told = fuse(layer, b.device) if b.cuda else "fusing is for CUDA devices"
                b.near(f"{size}, as it runs", layer(x), exact, 0.06)
                b.bar(f"{size} over 16 bits", before / b.seconds(lambda: layer(x)), "times", 1.0,
                      told)  # fmt: skip

            b.attempt(method, one)
    for method in ("int8-dynamic", "float8"):
        b.attempt(f"torchao {method}", lambda m=method: _torchao(b, m))  # type: ignore[misc]


def _torchao(b: Bench, method: str) -> None:
    model = nn.Sequential(nn.Linear(512, 512, device=b.device, dtype=b.half)).requires_grad_(False)
    x = b.noise(256, 512)
    exact = model(x)
    try:
        quantize_torchao(model, Quantization(method, layers=("*",)))
    except Exception as failure:
        raise Absent(str(failure)[:200]) from failure
    b.near(f"torchao {method}", model(x), exact, 0.08)
