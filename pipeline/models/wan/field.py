"""The guided field of one chunk, step after step: every branch, and what need not be computed.

``Pace`` is what a user switched on; ``Field`` holds what one chunk remembers for it: the rotary
table, joined conditions, what guidance and attention gave at the steps before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attention.cache import AttentionCache, Reuse
from pipeline.attention.exact import Attend, attend
from pipeline.guidance import CfgCache
from pipeline.models.wan.block import Hint
from pipeline.models.wan.denoise import Branches
from pipeline.models.wan.dit import Modulation, Shortcut, WanDiT
from pipeline.models.wan.graphs import Graphs
from pipeline.models.wan.hearing import KeyValue
from pipeline.models.wan.ring import KvRing


@dataclass(frozen=True, slots=True)
class Pace:
    """How a field may save work; the default computes everything, one branch after another.

    ``attends`` of self-attention, one for all steps or one a step. ``batched``: all branches as one
    batch. ``thresholds`` of the CFG cache, one a step. ``reuse`` of attention by block and step.
    ``graphs`` replay small forwards that neither reuse attention nor read a ring.
    """

    attends: tuple[Attend, ...] = (attend,)
    batched: bool = False
    thresholds: tuple[float, ...] = ()
    reuse: Reuse | None = None
    graphs: Graphs | None = None

    def __post_init__(self) -> None:
        if not self.attends:
            raise ValueError("attends must name at least one attention")
        if self.batched and self.thresholds and self.reuse:
            raise ValueError("attention is kept for a batch of branches or for each: with a CFG "
                             "cache, which leaves branches out, batched must be off")  # fmt: skip

    def check(self, steps: int, blocks: int) -> None:
        """Refuse tables that are made for another schedule or another depth."""
        for name, found, wanted in (
            ("attends", len(self.attends), (1, steps)),
            ("thresholds", len(self.thresholds), (0, steps)),
            ("reuse", len(self.reuse.steps) if self.reuse else steps, (steps,)),
        ):
            if found not in wanted:
                raise ValueError(f"{name} are given for {found} steps, the schedule has {steps}")
        if self.reuse and self.reuse.blocks != blocks:
            raise ValueError(f"reuse names {self.reuse.blocks} blocks, the model has {blocks}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's latents are numbered from, and the ring that keeps what was before."""

    start: int = 0
    ring: KvRing | None = None


class Field:
    """The velocity of one batch of chunks under its branches.

    ``side`` (K, C, T, h, w) stands beside the noisy latents; ``mods`` has one entry a step.
    """

    def __init__(
        self,
        dit: WanDiT,
        lot: Branches,
        side: Tensor,
        mods: list[Modulation],
        pace: Pace,
        place: Place | None = None,
    ) -> None:
        self._dit, self._lot, self._side, self._mods, self._pace = dit, lot, side, mods, pace
        self._place = place or Place()
        self._table = dit.table(side.shape, self._place.start, self._place.ring)
        count = len(lot.told)
        self._together = join(lot.told) if pace.batched and count > 1 else None
        self._cfg = CfgCache(pace.thresholds) if pace.thresholds and count > 1 else None
        caches = 1 if self._together else count
        self._kept = [AttentionCache(pace.reuse) if pace.reuse else None for _ in range(caches)]

    @property
    def hits(self) -> dict[str, int]:
        """What was not computed so far, by cache."""
        attention = sum(cache.hits for cache in self._kept if cache)
        return {"guidance": self._cfg.reused if self._cfg else 0, "attention": attention}

    def __call__(self, x: Tensor, step: int) -> Tensor:
        """x (K, 16, T, h, w) -> the guided velocity, float32."""
        joined = torch.cat([x, self._side], dim=1)
        return self._lot.mix(self._fields(joined, step))

    def _fields(self, joined: Tensor, step: int) -> list[Tensor]:
        decided = self._cfg.decided(step) if self._cfg else False
        if decided is False:
            fields = self._all(joined, step)
        else:
            first = self._run(joined, step, 0)
            if self._cfg and (decided or self._cfg.unchanged(step, first)):
                return [first, *self._cfg.reuse(first)]
            fields = [first, *self._others(joined, step)]
        if self._cfg:
            self._cfg.keep(fields[0], fields[1:])
        return fields

    def _all(self, joined: Tensor, step: int) -> list[Tensor]:
        if self._together is None:
            return [self._run(joined, step, 0), *self._others(joined, step)]
        count = len(self._lot.told)
        wide = joined.repeat(count, 1, 1, 1, 1)
        field = self._forward(wide, step, self._together, self._kept[0])
        return list(field.chunk(count))

    def _others(self, joined: Tensor, step: int) -> list[Tensor]:
        return [self._run(joined, step, b) for b in range(1, len(self._lot.told))]

    def _run(self, joined: Tensor, step: int, branch: int) -> Tensor:
        kept = None if self._together else self._kept[branch]
        return self._forward(joined, step, self._lot.told[branch], kept)

    def _forward(
        self, x: Tensor, step: int, told: list[Hint], kept: AttentionCache | None
    ) -> Tensor:
        attends = self._pace.attends
        short = Shortcut(attends[step if len(attends) > 1 else 0], kept, step)
        graphs, (start, ring) = self._pace.graphs, (self._place.start, self._place.ring)
        if graphs and kept is None and ring is None and self._tokens(x) <= graphs.limit:
            return self._replay(graphs, x, step, told, short.attend)
        field: Tensor = self._dit(x, self._mods[step], told, start=start, ring=ring,
                                  table=self._table, shortcut=short)  # fmt: skip
        return field

    def _tokens(self, x: Tensor) -> int:
        _, rows, columns = self._dit.config.patch
        return x.shape[0] * x.shape[2] * (x.shape[3] // rows) * (x.shape[4] // columns)

    def _replay(
        self, graphs: Graphs, x: Tensor, step: int, told: list[Hint], attend: Attend
    ) -> Tensor:
        """The same forward, recorded: everything that it reads is told as flat tensors."""
        mods = self._mods[step]
        flat, hints = flatten(told)
        depth = len(mods.blocks)

        def work(x: Tensor, cos: Tensor, sin: Tensor, head: Tensor, *rest: Tensor) -> Tensor:
            mod = Modulation(list(rest[:depth]), head)
            out: Tensor = self._dit(x, mod, unflatten(rest[depth:], hints), table=(cos, sin),
                                    shortcut=Shortcut(attend))  # fmt: skip
            return out

        return graphs.run(
            (id(self._dit), attend), work, [x, *self._table, mods.head, *mods.blocks, *flat]
        )


def flatten(told: list[Hint]) -> tuple[list[Tensor], list[tuple[bool, bool, bool]]]:
    """The tensors of some hints in order, and which of image, addition and audio each one has."""
    kinds = [(h.image is not None, h.added is not None, h.audio is not None) for h in told]
    return [value for hint in told for value in _tensors(hint)], kinds


def _tensors(hint: Hint) -> Iterator[Tensor]:
    yield from hint.text
    yield from hint.image or ()
    if hint.added is not None:
        yield hint.added
    yield from hint.audio or ()


def unflatten(flat: Sequence[Tensor], kinds: list[tuple[bool, bool, bool]]) -> list[Hint]:
    """The hints again."""
    rest = iter(flat)

    def pair(there: bool = True) -> KeyValue | None:
        return (next(rest), next(rest)) if there else None

    return [
        Hint(
            text=(next(rest), next(rest)), image=pair(image), added=next(rest) if added else None,
            audio=pair(audio),
        )
        for image, added, audio in kinds
    ]  # fmt: skip


def join(told: list[list[Hint]]) -> list[Hint]:
    """What several branches are told, as one batch, branch by branch."""
    return [
        Hint(
            text=_pairs([hint.text for hint in hints]),
            image=_pairs([hint.image for hint in hints if hint.image]) if hints[0].image else None,
            added=None if hints[0].added is None
            else torch.cat([hint.added for hint in hints if hint.added is not None]),
            audio=_pairs([hint.audio for hint in hints if hint.audio]) if hints[0].audio else None,
        )
        for hints in zip(*told, strict=True)
    ]  # fmt: skip


def _pairs(pairs: list[KeyValue]) -> KeyValue:
    return torch.cat([k for k, _ in pairs]), torch.cat([v for _, v in pairs])
