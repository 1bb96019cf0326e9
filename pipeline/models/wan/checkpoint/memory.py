"""What memory a checkpoint takes, part by part, told from headers before anything is read.

One budget for everything: weights in the types that they will have, what streams keep, what stages
need while they run, and how host memory is rounded when it is pinned. On a CUDA device what streams
need is traced (``working_memory``); elsewhere it is what its recipe keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from pipeline.acceleration.offload import least_budget, pinned_bytes, plan_resident
from pipeline.errors import ModelTooLarge
from pipeline.models.wan.checkpoint.files import WanFiles
from pipeline.models.wan.checkpoint.working_memory import (
    Demand,
    Size,
    forward_bytes,
    past_latents,
    transformer_bytes,
    working_memory,
)
from pipeline.models.wan.config import WanConfig
from pipeline.models.wan.model_cards import Card
from pipeline.models.wan.network.dit import keep_float32
from pipeline.weights.files import Source, gib, open_weights
from pipeline.weights.loading import free_memory

AT_HOME: Final = ("transformer", "prompt encoder", "pinning")  # may lie apart from the device


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes by part; ``least`` the same with the transformer and its past in bfloat16."""

    parts: Mapping[str, int]
    least: Mapping[str, int]

    def check(self, device: torch.device | str, home: torch.device | str) -> None:
        """Refuse what fits neither ``device`` nor ``home``; ``ModelTooLarge`` tells what would."""
        apart = torch.device(home).type != torch.device(device).type
        for place in {str(device), str(home)}:
            names = [n for n in self.parts
                     if not apart or (n in AT_HOME) == (place == str(home))]  # fmt: skip
            free, need = free_memory(place), sum(self.parts[n] for n in names)
            if need > free:
                raise ModelTooLarge(self._refusal(place, names, need, free, apart))

    def _refusal(self, place: str, names: list[str], need: int, free: int, apart: bool) -> str:
        told = ", ".join(f"{name} {gib(self.parts[name])}" for name in names)
        least = sum(self.least[n] for n in names)
        away = sum(self.least[n] for n in names if n not in AT_HOME)
        if least <= free:
            advice = f"in bfloat16 they would need {gib(least)}, which fits"
        elif not apart and place != "cpu" and away <= free:
            advice = (f"--speed gpu-24gb leaves the transformer and the prompt encoder in host "
                      f"memory, and {gib(away)} here")  # fmt: skip
        else:
            advice = f"{gib(least)} in bfloat16 would not fit either: take a smaller checkpoint"
        return f"this needs {gib(need)} on {place} ({told}) and {gib(free)} are free; {advice}"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a checkpoint shares a device: sizes (width, height) that fit, and how many bytes are left
    for blocks that stay or pass through, by whether 8-bit linears run fused; ``pinned`` bytes of
    host memory hold those that pass through."""

    sizes: tuple[Size, ...]
    blocks: Mapping[bool, int]
    pinned: int = 0

    def check_host(self, fixed: Budget, device: torch.device | str) -> None:
        """Refuse what pinned blocks take beyond the weights that they are made of."""
        more = max(self.pinned - fixed.parts["transformer"], 0)
        parts = {**fixed.parts, "pinning": more}
        Budget(parts, {**fixed.least, "pinning": more}).check(device, "cpu")


def plan_memory(
    fixed: Budget, demands: Sequence[Demand], limit: int, device: torch.device | str
) -> MemoryPlan:
    """Which sizes fit into ``limit`` bytes of ``device`` beside what is ``fixed``, and what they
    leave for blocks, the largest of them. Raises ``ModelTooLarge`` part by part if none fits."""
    refusal = ModelTooLarge(f"no size of this checkpoint is known for {device}")
    for i, demand in enumerate(demands):
        outside, sizes = transformer_bytes(demand)
        away = {n: size for n, size in fixed.parts.items() if n not in AT_HOME}
        working = working_memory(demand)
        parts = {"transformer beside its blocks": outside, **away, **working.parts()}
        least = least_budget(sizes) if demand.how.offload_gib else sum(sizes)
        if sum(parts.values()) + least <= limit:
            left = limit - sum(parts.values())
            more = forward_bytes(replace(demand, fused=False)) - working.temporaries
            blocks = {True: left, False: left - max(more, 0)}
            pinned = _pinned(sizes, min(blocks.values())) if demand.how.offload_gib else 0
            return MemoryPlan(tuple(d.size for d in demands[i:]), blocks, pinned)
        parts["least of the blocks"] = least
        told = ", ".join(f"{name} {gib(size)}" for name, size in parts.items())
        wide, high = demand.size
        refusal = ModelTooLarge(
            f"{wide}x{high} needs {gib(sum(parts.values()))} on {device} ({told}) and {gib(limit)} "
            f"may be used; free memory there, or take a smaller checkpoint"
        )
    raise refusal


def _pinned(sizes: Sequence[int], room: int) -> int:
    """Host memory of the blocks that do not stay, as torch rounds it."""
    if room < least_budget(sizes):  # apart they need more than fused: seen again when they are laid
        return sum(map(pinned_bytes, sizes))
    held = plan_resident(sizes, room)
    return sum(pinned_bytes(size) for i, size in enumerate(sizes) if i not in held)


def budget(
    files: WanFiles, chosen: Card, source: Source, config: WanConfig, dtype: torch.dtype
) -> Budget:
    """Of the files of a checkpoint, ``source`` and ``config`` being its merged transformer's."""
    wide = sum(info.numel for name, info in source.infos.items() if keep_float32(name))
    rest = sum(info.numel for info in source.infos.values()) - wide
    fixed = {
        "prompt encoder": 2 * _elements(files.text),
        "speech encoder": 4 * _elements(files.speech),
    }
    if files.image:
        fixed["picture encoder"] = 2 * _elements(files.image)

    def parts(size: int) -> dict[str, int]:
        return {
            "transformer": 4 * wide + size * rest,
            "autoencoder": size * _elements(files.vae),
            **fixed,
            "past": past_elements(chosen, config) * size,
        }

    return Budget(parts(dtype.itemsize), parts(2))


def past_elements(chosen: Card, config: WanConfig) -> int:
    """Keys and values that one stream keeps, at the smallest of its sizes."""
    recipe = chosen.recipe
    if recipe.chunked or not chosen.sizes:
        return 0
    tokens = min(w * h for w, h in chosen.sizes) // 256
    return 2 * past_latents(chosen) * tokens * config.dim * config.depth


def _elements(path: Path) -> int:
    return sum(info.numel for info in open_weights(path).infos.values())
