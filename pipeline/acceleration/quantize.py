"""Linear layers in 8 bits: int8 with dynamic or calibrated scales, float8 where the device has it.

Weights have one scale an output channel. Activations have one a token, found anew at every call,
or (int8-static) one a layer, found once by ``calibrate`` on sample speech: faster, and what lies
beyond the scale is cut off. Which layers stay as they are is named by patterns in the
configuration. Own modules do this with torch alone and can be streamed by ``offload``; on a CUDA
device ``linear_fusion`` joins what surrounds their products. ``quantize_torchao`` leaves it all to
that package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.acceleration.float8 import KIND, LARGEST, to_float8
from pipeline.errors import BackendRefused

METHODS: Final = ("int8-dynamic", "int8-static", "float8")
FLOOR: Final = 0.99  # least cosine of a quantised layer with the layer itself
TINY: Final = 1e-12  # least scale: a token of zeros stays one
CUDA_ROWS: Final = 17  # fewest tokens that the int8 product of CUDA takes
FLOAT8_FROM: Final = (8, 9)  # compute capability

Int8Product = Callable[[Tensor, Tensor, Tensor, Tensor | None, float | None], Tensor]
RowRounding = Callable[[Tensor, torch.dtype, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Quantization:
    """What is done to the linear layers whose names match ``layers`` and none of ``keep``.

    ``scales`` of int8-static: the largest input of each layer, from ``calibrate``.
    """

    method: str
    layers: tuple[str, ...] = ("blocks.*",)
    keep: tuple[str, ...] = ()
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"quantisation must be one of {METHODS}, not {self.method!r}")
        if (self.method == "int8-static") != bool(self.scales):
            raise ValueError(f"{self.method} with {len(self.scales)} calibrated scales: "
                             "int8-static needs them, the others take none")  # fmt: skip


class Int8Linear(nn.Module):
    """y = x W^T + b with 8-bit integers; ``largest`` input of a static scale, None for dynamic."""

    fused: Int8Product | None = None  # everything of it at once

    def __init__(self, linear: nn.Linear, largest: float | None = None) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=TINY) / 127
        self.weight: Tensor
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.scale: Tensor
        self.register_buffer("scale", scale)
        self.bias: Tensor | None
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())
        self.step = None if largest is None else max(largest, TINY) / 127

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O) in the type of ``x``."""
        rows = x.flatten(0, -2)
        run = self.fused
        y = self._passes(rows) if run is None else run(
            rows, self.weight, self.scale, self.bias, self.step
        )  # fmt: skip
        return y.unflatten(0, x.shape[:-1])  # type: ignore[no-any-return]

    def _passes(self, rows: Tensor) -> Tensor:
        """One after another, as torch has them."""
        wide = rows.float()
        if self.step is None:
            low, high = torch.aminmax(wide, dim=-1, keepdim=True)
            step: Tensor | float = torch.maximum(high, -low).clamp_(min=TINY) / 127
            small = (wide / step).round_().to(torch.int8)
        else:
            step = self.step
            small = (wide * (1 / step)).round_().clamp_(-127, 127).to(torch.int8)
        y = _int_product(small, self.weight).float().mul_(step).mul_(self.scale)
        if self.bias is not None:
            y.add_(self.bias)
        return y.type_as(rows)


def _int_product(x: Tensor, weight: Tensor) -> Tensor:
    """(N, I) by (O, I) -> int32 (N, O); CUDA wants more than 16 rows."""
    short = CUDA_ROWS - len(x) if x.device.type == "cuda" else 0
    if short <= 0:
        return torch._int_mm(x, weight.t())
    return torch._int_mm(F.pad(x, (0, 0, 0, short)), weight.t())[: len(x)]


class Float8Linear(nn.Module):
    """y = x W^T + b with e4m3 weights and inputs, one scale an output channel and a token. Scales
    and bias are added by the product itself, in bfloat16."""

    fused: RowRounding | None = None  # scaling and rounding of the rows at once

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = to_float8(linear.weight.detach(), 1)
        self.weight: Tensor
        self.register_buffer("weight", weight)
        self.scale: Tensor
        self.register_buffer("scale", scale.t().contiguous())  # (1, O)
        self.bias: Tensor | None
        bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O) in the type of ``x``; the product is bfloat16."""
        rows = x.flatten(0, -2)
        run = self.fused
        small, step = to_float8(rows, 1) if run is None else run(rows, KIND, LARGEST)
        y = torch._scaled_mm(small, self.weight.t(), bias=self.bias, scale_a=step,
                             scale_b=self.scale, out_dtype=torch.bfloat16)  # fmt: skip
        return y.type_as(x).unflatten(0, x.shape[:-1])  # type: ignore[no-any-return]


def chosen(model: nn.Module, how: Quantization) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that ``how`` speaks of."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or any(fnmatch(name, p) for p in how.keep):
            continue
        if any(fnmatch(name, p) for p in how.layers):
            yield name, module


def quantize(
    model: nn.Module, how: Quantization, device: torch.device | str | None = None
) -> list[str]:
    """Replace the chosen layers in place; returns their names. ``device`` is the one that will
    compute, where the weights lie elsewhere.

    Raises ``ValueError`` if nothing is chosen, a pattern of ``keep`` fits no layer (a misspelt one
    would cost quality unnoticed) or a scale is missing, ``BackendRefused`` if the device cannot.
    """
    found = dict(chosen(model, how))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    idle = [p for p in how.keep if not any(fnmatch(name, p) for name in names)]
    if not found or idle:
        raise ValueError(f"{len(found)} layers are quantised, and no layer fits {idle}")
    missing = sorted(found.keys() - how.scales.keys()) if how.method == "int8-static" else []
    if missing:
        raise ValueError(f"{len(missing)} layers have no calibrated scale: {missing[:3]}")
    check(how.method, next(iter(found.values())), device)
    return replace_layers(model, how)


def replace_layers(model: nn.Module, how: Quantization) -> list[str]:
    """``quantize`` without its checks: for a model without weights, whose sizes are wanted."""
    found = dict(chosen(model, how))
    for name, linear in found.items():
        _put(model, name, make(how.method, linear, how.scales.get(name)))
    return list(found)


def make(method: str, linear: nn.Linear, largest: float | None = None) -> nn.Module:
    """The quantised twin of a layer."""
    if method == "float8":
        return Float8Linear(linear)
    return Int8Linear(linear, largest)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


@torch.no_grad()
def check(method: str, linear: nn.Linear, device: torch.device | str | None = None) -> float:
    """Cosine of the quantised layer with the layer, on noise, on the ``device`` that will compute
    (by default where the layer lies); refuses below ``FLOOR``."""
    place = torch.device(device or linear.weight.device)
    if method == "float8" and place.type == "cuda":
        found = torch.cuda.get_device_capability(place)
        if found < FLOAT8_FROM:
            raise BackendRefused(
                f"float8 needs compute capability {FLOAT8_FROM}, {place} has {found}"
            )
    there = moved(linear, place)
    x = torch.randn(64, linear.in_features, device=place, dtype=linear.weight.dtype)
    largest = float(x.abs().max()) if method == "int8-static" else None
    try:
        ours = make(method, there, largest)(x).float()
    except RuntimeError as error:
        raise BackendRefused(f"{method} does not run on {place}: {error}") from error
    cosine = float(F.cosine_similarity(ours.flatten(), there(x).float().flatten(), dim=0))
    if not cosine >= FLOOR:  # also when it is NaN
        raise BackendRefused(f"{method} has cosine {cosine:.4f} with the layer, at least {FLOOR}")
    return cosine


def moved(layer: nn.Module, place: torch.device) -> Any:
    """A copy of a layer elsewhere; the layer itself stays where it is."""
    twin = copy(layer)
    twin._parameters = {k: None if v is None else nn.Parameter(v.to(place), requires_grad=False)
                        for k, v in layer._parameters.items()}  # fmt: skip
    twin._buffers = {k: None if v is None else v.to(place) for k, v in layer._buffers.items()}
    return twin


def calibrate(
    model: nn.Module, layers: Quantization, run: Callable[[], Any], share: float = 1.0
) -> dict[str, float]:
    """The largest input of every layer that ``layers`` chooses while ``run`` runs samples.

    With a ``share`` below 1, the mean over calls of that quantile, which cuts rare outliers off.
    """
    seen: dict[str, list[float]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.setdefault(name, []).append(_largest(inputs[0], share))

        return hook

    hooks = [m.register_forward_pre_hook(note(name)) for name, m in chosen(model, layers)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    whole = share == 1.0
    return {n: max(values) if whole else sum(values) / len(values) for n, values in seen.items()}


def _largest(x: Tensor, share: float) -> float:
    flat = x.detach().float().abs().flatten()
    rank = max(int(share * len(flat)), 1)
    return float(flat.max() if share == 1.0 else flat.kthvalue(rank).values)


def quantize_torchao(model: nn.Module, how: Quantization) -> list[str]:
    """The same choice of layers, quantised by torchao; dynamic scales alone. Its tensors cannot be
    streamed by ``offload``. Raises ``BackendRefused`` with the package's own reason."""
    names = {name for name, _ in chosen(model, how)}
    try:
        from torchao import quantization as ao

        configs = {
            "int8-dynamic": ao.Int8DynamicActivationInt8WeightConfig,
            "float8": lambda: ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow()),
        }
        if how.method not in configs:
            raise BackendRefused(f"torchao is asked for dynamic scales, not for {how.method}")
        ao.quantize_(model, configs[how.method](), filter_fn=lambda _, name: name in names)
    except (ImportError, AssertionError, RuntimeError) as error:
        raise BackendRefused(f"torchao cannot quantise to {how.method}: {error}") from error
    return sorted(names)
