"""Which attentions this machine has, why not the others, and whether each one can be trusted.

    sdpa            torch's own: always there, and the measure of the others
    flash2, flash3, flash4  FlashAttention, from its packages, 16-bit floats: on Ampere and newer,
                    Hopper, Hopper and Blackwell
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
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.acceleration.float8 import to_float8
from pipeline.acceleration.self_check import agree
from pipeline.attention.exact import Attend, attend
from pipeline.attention.sparse import Sparsity, attend_sparse
from pipeline.errors import BackendRefused

HALVES: Final = (torch.float16, torch.bfloat16)
FLOOR: Final = {"flash3-float8": 0.995, "sage": 0.995}  # least cosine with sdpa; others 0.9995
SPARSE_BOUND: Final = 0.03  # of the fused sparse kernel against the readable form, in 16 bits
EXACT: Final = Sparsity(1.0)
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
    needs = _NEEDS[name]
    missing = _missing_device(device, needs) or _missing_package(needs)
    if name == "sparse-linear" and missing:
        return Capability(name, True, f"the readable form, not the fused one: {missing}")
    return Capability(name, not missing, missing or f"{needs.module or 'torch'} is there")


class _Needs(NamedTuple):
    """The function ``name`` of ``module``, on CUDA devices of these major capabilities."""

    module: str = ""
    name: str = ""
    majors: tuple[int, ...] = ()


def _missing_device(device: str, needs: _Needs) -> str:
    if not needs.majors:
        return ""
    if torch.device(device).type != "cuda":
        return f"it needs a CUDA device, not {device}"
    found = torch.cuda.get_device_capability(device)
    if found[0] in needs.majors:
        return ""
    known = ", ".join(f"{major}.x" for major in needs.majors)
    return f"it needs compute capability {known}, {device} has {found[0]}.{found[1]}"


def _missing_package(needs: _Needs) -> str:
    """Packages share names: FlashAttention 4 alone brings a ``flash_attn`` without the function of
    FlashAttention 2."""
    module, name = needs.module, needs.name
    if not module:
        return ""
    try:
        if name and not hasattr(importlib.import_module(module), name):
            return f"{module} has no {name}: another release lies under its name"
        importlib.import_module(module)
    except Exception as error:  # compiled packages fail at import in many ways; each is a reason
        return f"{module} does not import: {error}"
    return ""


AMPERE_ON: Final = (8, 9, 10, 11, 12)
_NEEDS: Final[dict[str, _Needs]] = {
    "sdpa": _Needs(),
    "flash2": _Needs("flash_attn", "flash_attn_func", AMPERE_ON),
    "flash3": _Needs("flash_attn_interface", "flash_attn_func", (9,)),
    "flash3-float8": _Needs("flash_attn_interface", "flash_attn_func", (9,)),
    "flash4": _Needs("flash_attn.cute", "flash_attn_func", (9, 10)),
    "sage": _Needs("sageattention", "sageattn", AMPERE_ON),
    "sparse-linear": _Needs("triton", "jit", AMPERE_ON),
}


def function(name: str, device: str, sparsity: Sparsity | None = None) -> Attend:
    """The backend's function, unchecked. Raises ``BackendRefused`` with the reason."""
    found = capability(name, device)
    if not found.available:
        raise BackendRefused(f"attention {name!r} is not available: {found.reason}")
    if name == "sparse-linear":
        return _sparse(sparsity or EXACT, fused=found.reason == "triton is there")
    try:
        return _MAKE[name]()
    except Exception as error:  # a package that is not what its name says
        raise BackendRefused(f"attention {name!r} does not load: {error}") from error


def _sparse(sparsity: Sparsity, fused: bool) -> Attend:
    if not fused:
        return partial(attend_sparse, sparsity=sparsity)
    return partial(_attend_fused, sparsity=sparsity)


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, sparsity: Sparsity) -> Tensor:
    """In 16 bits: at head dim 128 float32 does not fit into a device's shared memory."""
    kernel = importlib.import_module("pipeline.attention.sparse_kernel")
    out: Tensor = kernel.attend_sparse_fused(*map(_half, (q, k, v)), sparsity)
    return out.type_as(q)


def with_sparsity(run: Attend, sparsity: Sparsity) -> Attend:
    """The sparse-linear backend that ``select`` chose, with another share."""
    if not isinstance(run, partial):
        raise ValueError("only sparse-linear attention has a share of blocks")
    return partial(run.func, sparsity=sparsity)


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
    "flash4": partial(_flash, "flash_attn.cute"),
    "sage": _sage,
}


def check(found: Attend, name: str, shape: Shape, dtype: torch.dtype, device: str) -> float:
    """The lower cosine with sdpa on fresh noise, of as many queries as keys and of fewer, as a past
    asks for; ``BackendRefused`` below the backend's floor, or on NaN."""
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    few = q[:, :, : max(shape[2] // 3, 1)]
    return min(_cosine(found, name, part, k, v) for part in (q, few))


def _cosine(found: Attend, name: str, q: Tensor, k: Tensor, v: Tensor) -> float:
    shape = tuple(q.shape)
    try:
        ours = found(q, k, v)
        exact = attend(q.float(), k.float(), v.float())
        return compare(ours, exact, name, shape)
    except BackendRefused:
        raise
    except Exception as error:  # whatever a kernel raises, the backend is of no use here
        raise BackendRefused(f"attention {name!r} failed at {shape} {q.dtype}: {error}") from error


def _fused_or_readable(shape: Shape, dtype: torch.dtype, device: str) -> tuple[Attend, str]:
    """The sparse-linear form to run, and why: exact blocks are not all that its kernel does, so it
    is held to the readable form as well."""
    found, readable = capability("sparse-linear", device), partial(attend_sparse, sparsity=EXACT)
    if found.reason != "triton is there":
        return readable, found.reason
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    share = Sparsity(0.4, 0.2)
    try:
        agree("the fused kernel", lambda: _attend_fused(q, k, v, share),
              lambda: attend_sparse(q, k, v, share), SPARSE_BOUND)  # fmt: skip
    except BackendRefused as refusal:
        return readable, f"the readable form, not the fused one: {refusal}"
    return partial(_attend_fused, sparsity=EXACT), "the fused kernel agrees with the readable form"


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


def _loaded(name: str, shape: Shape, dtype: torch.dtype, device: str) -> tuple[Attend, str]:
    if name == "sparse-linear":
        return _fused_or_readable(shape, dtype, device)
    return function(name, device), capability(name, device).reason


def select(wanted: Sequence[str], shape: Shape, dtype: torch.dtype, device: str) -> Backend:
    """The first of ``wanted`` that is there and passes its self-check at ``shape``.

    A sparse-linear backend is checked keeping every block, where it has to be exact; use
    ``function`` for the sparsity of each step. Raises ``BackendRefused`` with every reason if none
    passes: list "sdpa" last to fall back on it, with the reasons kept.
    """
    reasons: list[str] = []
    for name in wanted:
        try:
            found, told = _loaded(name, shape, dtype, device)
            cosine = check(found, name, shape, dtype, device)
        except BackendRefused as refusal:
            reasons.append(str(refusal))
            continue
        return Backend(name, found, f"{told}; cosine {cosine:.5f} with sdpa", tuple(reasons))
    raise BackendRefused("no attention can be used: " + "; ".join(reasons or ["none was named"]))
