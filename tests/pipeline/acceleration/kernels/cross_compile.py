"""Compiles every Triton kernel for cards that are not here, as the project launches it.

``python -m tests.pipeline.acceleration.kernels.cross_compile`` writes one JSON: kernel -> target ->
bytes of shared memory a block and of local memory a thread. Launches are taken down, not copied:
whatever the project passes is what is compiled. Needs a process of its own, because Triton decides
at its import whether its interpreter takes the kernels' place.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.acceleration import linear_kernel
from pipeline.attention import sparse_kernel
from pipeline.attention.sparse import Sparsity
from pipeline.models.wan.vae import norm_kernel

TARGETS = (80, 86, 89, 90, 100)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32", torch.int8: "*i8",
    torch.float8_e4m3fn: "*fp8e4nv", torch.float16: "*fp16",
}  # fmt: skip


class TakenDown:
    """In the place of a kernel: remembers how it was launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.launch: dict[str, Any] = {}

    def __getitem__(self, _: object) -> Callable[..., None]:
        return self._note

    def _note(self, *given: Any, **named: Any) -> None:
        self.launch = dict(zip(self.kernel.arg_names, given, strict=False)) | named

    def source(self) -> ASTSource:
        """As Triton specialises a launch: tensors aligned, ones and flags constant."""
        flags = {p.name for p in self.kernel.params if p.is_constexpr}
        values = {name: self.launch[name] for name in self.kernel.arg_names}
        signature = {n: "constexpr" if n in flags else _type(v) for n, v in values.items()}
        fixed = {n: v for n, v in values.items() if signature[n] == "constexpr"}
        even = [i for i, (n, v) in enumerate(values.items()) if n not in fixed and _even(v)]
        aligned = {(i,): [["tt.divisibility", 16]] for i in even}
        return ASTSource(self.kernel, signature=signature, constexprs=fixed, attrs=aligned)

    def compile(self, capability: int) -> dict[str, int]:
        """Bytes of shared memory a block and of local memory a thread."""
        options = {n: v for n, v in self.launch.items() if n in ("num_warps", "num_stages")}
        target = GPUTarget("cuda", capability, 32)
        made = triton.compile(self.source(), target=target, options=options)
        return {"shared": made.metadata.shared, "local": _local(made.asm["cubin"])}


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    if isinstance(value, int):
        return "constexpr" if value == 1 else "i32"
    return "fp32"


def _even(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0)


def _local(cubin: bytes) -> int:
    """What a thread keeps outside its registers, stack and spills together."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True,
            check=True,
        ).stdout  # fmt: skip
    return sum(int(n) for n in re.findall(r"(?:STACK|LOCAL):(\d+)", told))


def taken_down(module: ModuleType, name: str, work: Callable[[], object]) -> TakenDown:
    """The launch of ``module.name`` while ``work`` runs."""
    kernel = getattr(module, name)
    place = TakenDown(kernel)
    setattr(module, name, place)
    try:
        work()
    finally:
        setattr(module, name, kernel)
    return place


def launches() -> dict[str, tuple[TakenDown, int]]:
    """Every kernel on its main path at the models' widths, and the least target that it is for."""
    half, sparse, norm, linear = torch.bfloat16, sparse_kernel, norm_kernel, linear_kernel
    heads = torch.zeros(1, 2, 256, 128, dtype=half)
    frames = torch.zeros(1, 96, 2, 4, 4, dtype=half)
    wide, small, large = torch.zeros(256, 13824, dtype=half), torch.int8, torch.float8_e4m3fn
    attend, keep = sparse.attend_sparse_fused, Sparsity(0.5)
    gain = frames[0, :, :1, :1, :1]
    return {
        "sparse": (taken_down(sparse, "_kernel", lambda: attend(heads, heads, heads, keep)), 80),
        "norm": (taken_down(norm, "_kernel", lambda: norm.norm_silu(frames, gain)), 80),
        "round-int8": (_rounding(lambda: linear.round_rows(wide, small, 127.0)), 80),
        "round-float8": (_rounding(lambda: linear.round_rows(wide, large, 448.0)), 89),
        "product-int8": (taken_down(linear, "_product_kernel", _product), 80),
    }


def _rounding(work: Callable[[], object]) -> TakenDown:
    return taken_down(linear_kernel, "_round_kernel", work)


def _product() -> None:
    x, scale = torch.zeros(256, 1536, dtype=torch.bfloat16), torch.ones(256)
    weight = torch.zeros(256, 1536, dtype=torch.int8)
    _rounding(lambda: linear_kernel.int8_linear(x, weight, scale, scale, None))


def main() -> None:
    """Everything for every target, as JSON."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        found = {
            name: {str(t): launch.compile(t) for t in TARGETS if t >= least}
            for name, (launch, least) in launches().items()
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
