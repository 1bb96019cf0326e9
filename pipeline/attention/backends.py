"""Which attentions this machine has, why not the others, and whether each one can be trusted.

    sdpa            torch's own: always there, and the measure of the others
    flash2, flash3  FlashAttention, from its packages, 16-bit floats on Ampere / Hopper and newer
    flash3-float8   FlashAttention 3 on e4m3 with a scale for every head
    sage            SageAttention: 8-bit scores
    sparse-linear   ours: ``sparse_kernel`` on a CUDA device, ``sparse`` elsewhere

A name is looked up once, with its reason. Before it is used, a backend computes attention of fresh
noise beside sdpa at the shape it will serve (``check``); NaN or a low cosine refuses it, loudly.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.attention.exact import Attend, attend
from pipeline.attention.float8 import to_float8
from pipeline.attention.sparse import Sparsity, attend_sparse
from pipeline.errors import BackendRefused

HALVES: Final = (torch.float16, torch.bfloat16)
FLOOR: Final = {"flash3-float8": 0.995, "sage": 0.995}  # least cosine with sdpa; others 0.9995
Shape = tuple[int, int, int, int]  # batch, heads, tokens, head dim


@dataclass(frozen=True, slots=True)
class Capability:
    """A backend on this machine: there or not, and why."""

    name: str
    available: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend that passed its self-check, and what was tried before it."""

    name: str
    attend: Attend
    reason: str
    refused: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Every backend, there or not."""
    return tuple(_NEEDS)


@cache
def capability(name: str, device: str) -> Capability:
    """Whether ``device`` ("cpu", "cuda", "cuda:1") has the backend; looked up once."""
    if name not in _NEEDS:
        raise BackendRefused(f"no attention is called {name!r}; known are {', '.join(_NEEDS)}")
    module, least = _NEEDS[name]
    missing = _missing_device(device, least) or _missing_package(module)
    if name == "sparse-linear" and missing:
        return Capability(name, True, f"the readable form, not the fused one: {missing}")
    return Capability(name, not missing, missing or f"{module or 'torch'} is there")


def _missing_device(device: str, least: tuple[int, int] | None) -> str:
    if least is None:
        return ""
    if torch.device(device).type != "cuda":
        return f"it needs a CUDA device, not {device}"
    found = torch.cuda.get_device_capability(device)
    if found >= least and (least != (9, 0) or found[0] == 9):
        return ""
    return f"it needs compute capability {least}, this device has {found}"


def _missing_package(module: str) -> str:
    if not module:
        return ""
    try:
        importlib.import_module(module)
    except Exception as error:  # compiled packages fail at import in many ways; each is a reason
        return f"{module} does not import: {error}"
    return ""


_NEEDS: Final[dict[str, tuple[str, tuple[int, int] | None]]] = {
    "sdpa": ("", None),
    "flash2": ("flash_attn", (8, 0)),
    "flash3": ("flash_attn_interface", (9, 0)),
    "flash3-float8": ("flash_attn_interface", (9, 0)),
    "sage": ("sageattention", (8, 0)),
    "sparse-linear": ("triton", (8, 0)),
}


def function(name: str, device: str, sparsity: Sparsity | None = None) -> Attend:
    """The backend's function, unchecked. Raises ``BackendRefused`` with the reason."""
    found = capability(name, device)
    if not found.available:
        raise BackendRefused(f"attention {name!r} is not available: {found.reason}")
    if name == "sparse-linear":
        return _sparse(sparsity or Sparsity(1.0), fused=found.reason == "triton is there")
    return _MAKE[name]()


def _sparse(sparsity: Sparsity, fused: bool) -> Attend:
    if not fused:
        return partial(attend_sparse, sparsity=sparsity)
    kernel = importlib.import_module("pipeline.attention.sparse_kernel")
    return partial(kernel.attend_sparse_fused, sparsity=sparsity)


def _flash(module: str) -> Attend:
    flash = importlib.import_module(module).flash_attn_func

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = flash(*(_half(x).transpose(1, 2) for x in (q, k, v)))
        out = out[0] if isinstance(out, tuple) else out  # some releases return the sums as well
        return out.transpose(1, 2).type_as(q)  # type: ignore[no-any-return]

    return run


def _flash_float8() -> Attend:
    flash = importlib.import_module("flash_attn_interface").flash_attn_func

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        small, scales = zip(*(to_float8(x, (2, 3)) for x in (q, k, v)), strict=True)
        told = {f"{n}_descale": s[:, :, 0, 0] for n, s in zip("qkv", scales, strict=True)}
        out = flash(*(x.transpose(1, 2) for x in small), **told)
        out = out[0] if isinstance(out, tuple) else out
        return out.transpose(1, 2).type_as(q)  # type: ignore[no-any-return]

    return run


def _sage() -> Attend:
    sage = importlib.import_module("sageattention").sageattn

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = sage(*map(_half, (q, k, v)), tensor_layout="HND", is_causal=False)
        return out.type_as(q)

    return run


def _half(x: Tensor) -> Tensor:
    return x if x.dtype in HALVES else x.to(torch.bfloat16)


_MAKE: Final[dict[str, Callable[[], Attend]]] = {
    "sdpa": lambda: attend,
    "flash2": partial(_flash, "flash_attn"),
    "flash3": partial(_flash, "flash_attn_interface"),
    "flash3-float8": _flash_float8,
    "sage": _sage,
}


def check(found: Attend, name: str, shape: Shape, dtype: torch.dtype, device: str) -> float:
    """Cosine with sdpa on fresh noise; ``BackendRefused`` below the backend's floor, or on NaN."""
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    try:
        ours = found(q, k, v)
    except Exception as error:  # whatever a kernel raises, the backend is of no use here
        raise BackendRefused(f"attention {name!r} failed at {shape} {dtype}: {error}") from error
    exact = attend(q.float(), k.float(), v.float())
    return compare(ours, exact, name, shape)


def compare(ours: Tensor, exact: Tensor, name: str, shape: Any) -> float:
    """Cosine of two outputs; raises ``BackendRefused`` as ``check`` does."""
    if not torch.isfinite(ours).all():
        raise BackendRefused(f"attention {name!r} gives NaN or infinity at {tuple(shape)}")
    cosine = float(F.cosine_similarity(ours.float().flatten(), exact.flatten(), dim=0))
    floor = FLOOR.get(name, 0.9995)
    if ours.shape != exact.shape or cosine < floor:
        raise BackendRefused(f"attention {name!r} has cosine {cosine:.4f} with sdpa at "
                             f"{tuple(shape)}, at least {floor} is wanted")  # fmt: skip
    return cosine


def select(wanted: Sequence[str], shape: Shape, dtype: torch.dtype, device: str) -> Backend:
    """The first of ``wanted`` that is there and passes its self-check at ``shape``.

    A sparse-linear backend is checked keeping every block, where it has to be exact; use
    ``function`` for the sparsity of each step. Raises ``BackendRefused`` with every reason if none
    passes: list "sdpa" last to fall back on it, with the reasons kept.
    """
    reasons: list[str] = []
    for name in wanted:
        try:
            found = function(name, device)
            cosine = check(found, name, shape, dtype, device)
        except BackendRefused as refusal:
            reasons.append(str(refusal))
            continue
        told = f"{capability(name, device).reason}; cosine {cosine:.5f} with sdpa"
        return Backend(name, found, told, tuple(reasons))
    raise BackendRefused("no attention can be used: " + "; ".join(reasons or ["none was named"]))
