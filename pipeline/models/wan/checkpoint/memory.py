"""What memory a checkpoint takes, part by part, told from headers before anything is read.

Weights in the types that they will have, and the keys and values that its recipe keeps. What one
forward needs besides depends on the attention backend and is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from pipeline.errors import ModelTooLarge
from pipeline.models.wan.checkpoint.files import WanFiles
from pipeline.models.wan.config import WanConfig
from pipeline.models.wan.model_cards import Card
from pipeline.models.wan.network.dit import keep_float32
from pipeline.weights.files import Source, gib, open_weights
from pipeline.weights.loading import free_memory

AT_HOME: Final = ("transformer", "prompt encoder")  # may lie apart from the device that computes


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
    held = recipe.window
    if recipe.kind == "rolling":
        held -= recipe.block * (chosen.schedule.steps - 1)
    if recipe.kind == "memory":
        held = recipe.block + chosen.schedule.steps * (recipe.window - recipe.block)
    return 2 * held * tokens * config.dim * config.depth


def _elements(path: Path) -> int:
    return sum(info.numel for info in open_weights(path).infos.values())
