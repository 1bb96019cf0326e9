"""Low-rank adapters: a base with what an adapter's file adds to it, read as one source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import ModelDamaged, ModelMismatch
from pipeline.weights.files import Source, TensorInfo

Pairs = dict[str, tuple[str, str]]


class LoraSource:
    """A base with an adapter merged in: W + alpha / rank B A, products in float32; tensors that
    the adapter holds whole replace the base's. Without a base, the adapter's file holds it too.
    """

    def __init__(self, base: Source | None, adapter: Source, alpha: float | None) -> None:
        self._pairs, self._alphas, self._whole = _sort_adapter(adapter.infos)
        self._base, self._adapter, self._alpha = base, adapter, alpha
        whole = {name: adapter.infos[raw] for name, raw in self._whole.items()}
        self.infos = {**(base.infos if base else {}), **whole}
        self._check()

    def _check(self) -> None:
        lost = sorted(name for name in self._pairs if f"{name}.weight" not in self.infos)
        if lost:
            raise ModelMismatch(
                f"the adapter changes {len(lost)} layers that the base does not have: "
                f"{', '.join(lost[:5])}"
            )
        for target, (down, up) in self._pairs.items():
            wanted = self.infos[f"{target}.weight"].shape
            a, b = self._adapter.infos[down].shape, self._adapter.infos[up].shape
            if (b[0], a[1]) != wanted or a[0] != b[1]:
                raise ModelMismatch(
                    f"{target} is {wanted} and the adapter's product {b} x {a} does not fit it"
                )
        told = self._alpha is not None or self._alphas.keys() >= self._pairs.keys()
        if not told:
            raise ModelMismatch(
                "the adapter's alpha is neither in its file nor in a config.json beside it, "
                "nor by the model's card"
            )

    def read(self, name: str) -> Tensor:
        target = name.removesuffix(".weight")
        weight = self._read_whole(name)
        if target == name or target not in self._pairs:
            return weight
        down, up = (self._adapter.read(raw).float() for raw in self._pairs[target])
        return weight.float() + (self._strength(target) / down.shape[0]) * (up @ down)

    def _read_whole(self, name: str) -> Tensor:
        if name in self._whole:
            return self._adapter.read(self._whole[name])
        if self._base is None:
            raise KeyError(name)
        return self._base.read(name)

    def _strength(self, target: str) -> float:
        if target in self._alphas:
            return float(self._adapter.read(self._alphas[target]))
        return float(self._alpha or 0.0)


def _sort_adapter(infos: Mapping[str, TensorInfo]) -> tuple[Pairs, dict[str, str], dict[str, str]]:
    """Adapter names -> (down, up) by layer, alpha by layer, whole tensors by name."""
    halves: dict[str, dict[str, str]] = {}
    alphas, whole = {}, {}
    for raw in infos:
        name = re.sub(r"^(base_model\.model\.|diffusion_model\.|transformer\.|module\.)+", "", raw)
        half = re.fullmatch(r"(.+)\.lora_(A|B|down|up)(?:\.default)?(?:\.weight)?", name)
        if half:
            side = "down" if half[2] in ("A", "down") else "up"
            halves.setdefault(half[1], {})[side] = raw
        elif name.endswith(".alpha"):
            alphas[name.removesuffix(".alpha")] = raw
        else:
            whole[name.replace(".base_layer.", ".")] = raw
    single = sorted(layer for layer, sides in halves.items() if len(sides) != 2)
    if single:
        raise ModelDamaged(f"{len(single)} layers have half an adapter: {', '.join(single[:5])}")
    return {k: (v["down"], v["up"]) for k, v in halves.items()}, alphas, whole


def is_adapter(infos: Mapping[str, TensorInfo]) -> bool:
    """Whether the tensors are (also) a LoRA."""
    return any(re.search(r"\.lora_(A|B|down|up)\b", name) for name in infos)
