"""Whether 8-bit layers run fused on a device: decided at load, by agreement and speed.

The gain of a fused layer depends on the card, its driver and the libraries behind torch's own
products, so it is measured once where it will run.
"""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any, Final

import torch
from torch import nn

from pipeline.acceleration.quantize import Float8Linear, Int8Linear, moved
from pipeline.acceleration.self_check import agree, seconds
from pipeline.errors import BackendRefused

BOUND: Final = 0.01  # of a fused layer against the same in torch's own passes
ROWS: Final = 4096  # tokens at which both are timed


@torch.no_grad()
def fuse(
    model: nn.Module, device: torch.device | str, kernels: Any = None, rows: int = ROWS
) -> str:
    """Let quantised layers run fused on ``device`` where that agrees with torch's own passes and
    is faster; says which of them run and why. ``kernels``: of ``linear_kernel``."""
    place = torch.device(device)
    layers = [m for m in model.modules() if isinstance(m, Int8Linear | Float8Linear)]
    if not layers:
        return "no quantised layers to fuse"
    widest = max(layers, key=lambda layer: layer.weight.numel())
    try:
        told = _fused_pays(
            widest, place, kernels or import_module("pipeline.acceleration.linear_kernel"), rows
        )
    except (ImportError, BackendRefused) as refusal:
        return f"linears run in torch's own passes: {refusal}"
    for layer in layers:
        layer.fused = widest.fused
    return told


def _fused_pays(layer: Any, place: torch.device, kernels: Any, rows: int) -> str:
    """Leaves ``layer`` fused, or raises ``BackendRefused``."""
    plain = moved(layer, place)
    x = torch.randn(rows, layer.weight.shape[1], device=place, dtype=torch.bfloat16)
    fused = copy(plain)
    fused.fused = kernels.int8_linear if isinstance(layer, Int8Linear) else kernels.round_rows
    for count in (1, 33, rows):  # few rows, an odd count, many
        part = x[:count]
        agree("the fused layer", lambda p=part: fused(p), lambda p=part: plain(p), BOUND)  # type: ignore[misc]
    before, after = seconds(lambda: plain(x), place), seconds(lambda: fused(x), place)
    if after > before:
        raise BackendRefused(f"fused they take {1e3 * after:.2f} ms, apart {1e3 * before:.2f}")
    layer.fused = fused.fused
    return f"linears run fused: {1e3 * after:.2f} ms a layer instead of {1e3 * before:.2f}"
