"""Loading weights: strictly, tensor by tensor, into memory that was seen to suffice.

Every missing, unexpected or mis-shaped tensor is named, none is skipped. What weights are made of,
and how they are read, is ``pipeline/weights/files.py``'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch, ModelTooLarge
from pipeline.weights.files import Source, TensorInfo, gib


def differences(expected: Mapping[str, tuple[int, ...]], infos: Mapping[str, TensorInfo]) -> str:
    """What is missing, unexpected and mis-shaped, or an empty string."""
    lists = {
        "missing": sorted(expected.keys() - infos.keys()),
        "unexpected": sorted(infos.keys() - expected.keys()),
        "mis-shaped": [
            f"{name} {infos[name].shape} instead of {shape}"
            for name, shape in expected.items()
            if name in infos and infos[name].shape != shape
        ],
    }
    return "; ".join(
        f"{len(names)} {what}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        for what, names in lists.items()
        if names
    )


def expected_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model, which may be on the meta device."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def load_into(
    model: nn.Module,
    source: Source,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    keep_float32: Callable[[str], bool] | None = None,
) -> None:
    """Fill ``model`` (built on the meta device) tensor by tensor, strictly.

    Raises ``ModelMismatch`` before anything is read, ``ModelTooLarge`` if it cannot fit.
    """
    expected = expected_shapes(model)
    wrong = differences(expected, source.infos)
    if wrong:
        raise ModelMismatch(f"the weights do not fit the model: {wrong}")
    wide = keep_float32 or (lambda _: False)
    types = {name: torch.float32 if wide(name) else dtype for name in expected}
    sizes = {name: math.prod(shape) for name, shape in expected.items()}
    least = sum(size * (4 if wide(name) else 2) for name, size in sizes.items())
    need_memory(sum(n * types[name].itemsize for name, n in sizes.items()), device, least)
    for name in expected:
        value = source.read(name).to(device=device, dtype=types[name], copy=True)
        _assign(model, name, value)


def _assign(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if leaf in module._parameters:
        module._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        module._buffers[leaf] = value


def free_memory(device: torch.device | str) -> int:
    """Bytes free on a device."""
    place = torch.device(device)
    if place.type == "cuda":
        return torch.cuda.mem_get_info(place)[0]
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else 2**63


def need_memory(size: int, device: torch.device | str, least: int) -> None:
    """Refuse at once what cannot fit; ``least`` bytes are needed in the smallest type."""
    free = free_memory(device)
    if size <= free:
        return
    advice = f"in bfloat16 they would need {gib(least)}, which fits"
    if least > free:
        advice = f"{gib(least)} in bfloat16 would not fit either: take a smaller checkpoint"
    raise ModelTooLarge(
        f"these weights need {gib(size)} on {device} and {gib(free)} are free; {advice}"
    )
