"""A forward pass of the transformer as a request, and its answer.

The generation of a chunk is a ``Generation``, a generator that yields forward requests and
continues with their results. The caller decides how they run: one by one (``answer``), or those of
several streams as one batch (``batching``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.models.wan.network.audio_conditioning import KeyValue
from pipeline.models.wan.network.block import BlockCondition
from pipeline.models.wan.network.cuda_graphs import Graphs
from pipeline.models.wan.network.dit import Modulation, Shortcut, WanDiT
from pipeline.models.wan.network.kv_ring import Memory
from pipeline.models.wan.network.layers import Table

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ForwardRequest:
    """What ``WanDiT.forward`` takes. ``places`` are the latents that ``table`` was made for; small
    forwards are replayed by ``graphs``."""

    dit: WanDiT
    x: Tensor  # (B, C, T, h, w), all input channels
    mod: Modulation
    conditions: list[BlockCondition]
    table: Table
    places: tuple[int, ...]
    shortcut: Shortcut = field(default_factory=Shortcut)
    start: int = 0
    ring: Memory | None = None
    keep: bool = False
    graphs: Graphs | None = None

    @property
    def tokens(self) -> int:
        _, rows, columns = self.dit.config.patch
        return self.x[:, 0].numel() // (rows * columns)


Generation = Generator[ForwardRequest, Tensor, T]
Kind = tuple[bool, bool, bool, bool, int]  # of a hint: image, addition, audio, areas; deaf latents


def answer(ask: ForwardRequest) -> Tensor:
    """The velocity, float32 (B, 16, T, h, w)."""
    graphs = ask.graphs
    if graphs and ask.shortcut.reuse is None and ask.ring is None and ask.tokens <= graphs.limit:
        return _replay(graphs, ask)
    out: Tensor = ask.dit(ask.x, ask.mod, ask.conditions, start=ask.start, ring=ask.ring,
                          keep=ask.keep, table=ask.table, shortcut=ask.shortcut)  # fmt: skip
    return out


def _replay(graphs: Graphs, ask: ForwardRequest) -> Tensor:
    """The same forward, recorded: everything that it reads is told as flat tensors."""
    flat, hints = flatten(ask.conditions)
    depth, attend = len(ask.mod.blocks), ask.shortcut.attend

    def work(x: Tensor, cos: Tensor, sin: Tensor, head: Tensor, *rest: Tensor) -> Tensor:
        mod = Modulation(list(rest[:depth]), head)
        out: Tensor = ask.dit(x, mod, unflatten(rest[depth:], hints), table=(cos, sin),
                              shortcut=Shortcut(attend))  # fmt: skip
        return out

    inputs = [ask.x, *ask.table, ask.mod.head, *ask.mod.blocks, *flat]
    return graphs.run((id(ask.dit), attend, tuple(hints)), work, inputs)


def flatten(conditions: list[BlockCondition]) -> tuple[list[Tensor], list[Kind]]:
    """The tensors of some hints in order, and what else there is to know of each."""
    kinds = [(h.image is not None, h.added is not None, h.audio is not None, h.areas is not None,
              h.deaf) for h in conditions]  # fmt: skip
    return [value for hint in conditions for value in _tensors(hint)], kinds


def _tensors(hint: BlockCondition) -> Iterator[Tensor]:
    yield from hint.text
    yield from hint.image or ()
    if hint.added is not None:
        yield hint.added
    yield from hint.audio or ()
    if hint.areas is not None:
        yield hint.areas


def unflatten(flat: Sequence[Tensor], kinds: list[Kind]) -> list[BlockCondition]:
    """The hints again."""
    rest = iter(flat)

    def pair(there: bool = True) -> KeyValue | None:
        return (next(rest), next(rest)) if there else None

    return [
        BlockCondition(
            text=(next(rest), next(rest)), image=pair(image), added=next(rest) if added else None,
            audio=pair(audio), deaf=deaf, areas=next(rest) if areas else None,
        )
        for image, added, audio, areas, deaf in kinds
    ]  # fmt: skip


def join(conditions: Sequence[list[BlockCondition]]) -> list[BlockCondition]:
    """Conditions of several branches or streams as one batch, in order."""
    return [
        BlockCondition(
            text=_pairs([hint.text for hint in hints]),
            image=_pairs([hint.image for hint in hints if hint.image]) if hints[0].image else None,
            added=None if hints[0].added is None
            else torch.cat([hint.added for hint in hints if hint.added is not None]),
            audio=_pairs([hint.audio for hint in hints if hint.audio]) if hints[0].audio else None,
            deaf=hints[0].deaf,
            areas=None if hints[0].areas is None
            else torch.cat([hint.areas for hint in hints if hint.areas is not None]),
        )
        for hints in zip(*conditions, strict=True)
    ]  # fmt: skip


def _pairs(pairs: list[KeyValue]) -> KeyValue:
    return torch.cat([k for k, _ in pairs]), torch.cat([v for _, v in pairs])
