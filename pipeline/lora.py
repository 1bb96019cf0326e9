"""Low-rank adapters: a base with what an adapter's file adds to it, read as one source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import ModelDamaged, ModelMismatch
from pipeline.weights import Source, TensorInfo

Pairs = dict[str, tuple[str, str]]


class LoraSource:
    """A base with an adapter merged in: W + scale B A, and the adapter's whole tensors instead of
    the base's. Products are taken in float32."""

    def __init__(self, base: Source, adapter: Source, alpha: float | None) -> None:
        pairs, alphas, whole = _sort_adapter(adapter.infos)
        names = {name[: -len(".weight")] for name in base.infos if name.endswith(".weight")}
        lost = sorted(pairs.keys() - names)
        if lost:
            raise ModelMismatch(f"the adapter changes {len(lost)} layers that the base does not "
                                f"have: {', '.join(lost[:5])}")  # fmt: skip
        self._base, self._adapter, self._pairs, self._whole = base, adapter, pairs, whole
        self._alphas, self._alpha = alphas, alpha
        self._check()
        self.infos = {**base.infos, **{name: adapter.infos[raw] for name, raw in whole.items()}}

    def _check(self) -> None:
        for target, (down, up) in self._pairs.items():
            wanted = self._base.infos[f"{target}.weight"].shape
            a, b = self._adapter.infos[down].shape, self._adapter.infos[up].shape
            if (b[0], a[1]) != wanted or a[0] != b[1]:
                raise ModelMismatch(f"{target} is {wanted} and the adapter's product "
                                    f"{b} x {a} does not fit it")  # fmt: skip
            if target not in self._alphas and self._alpha is None:
                raise ModelMismatch(f"the adapter tells no alpha for {target}: neither its file "
                                    "nor a config.json beside it nor the model's card")  # fmt: skip

    def read(self, name: str) -> Tensor:
        if name in self._whole:
            return self._adapter.read(self._whole[name])
        target = name.removesuffix(".weight")
        weight = self._base.read(name)
        if target not in self._pairs or target == name:
            return weight
        down, up = (self._adapter.read(raw).float() for raw in self._pairs[target])
        alpha = self._alpha
        if target in self._alphas:
            alpha = float(self._adapter.read(self._alphas[target]))
        assert alpha is not None  # _check
        return weight.float() + (alpha / down.shape[0]) * (up @ down)


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
