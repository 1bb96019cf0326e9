"""Attention across denoising steps: which blocks attend anew at which step, and which reuse.

What attention adds to the stream changes slowly from step to step in many blocks. A ``Reuse`` is a
table of one letter per block and step, ``F`` full or ``R`` reuse, as it stands in a model's TOML;
an ``AttentionCache`` holds one chunk's attention outputs; ``propose`` searches a table under a
bound on the error, from runs that the caller makes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Reuse:
    """``steps[i][b]`` is what block b does at step i; the first step is full."""

    steps: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.steps or set("".join(self.steps)) - set("FR") or "R" in self.steps[0]:
            raise ValueError(f"reuse must be words of F and R, the first without R: {self.steps}")
        if len({len(step) for step in self.steps}) != 1:
            raise ValueError(f"steps name {[len(s) for s in self.steps]} blocks, not equally many")

    @property
    def blocks(self) -> int:
        return len(self.steps[0])

    @property
    def reused(self) -> int:
        """Attentions that are not computed."""
        return "".join(self.steps).count("R")

    @classmethod
    def of(cls, steps: int, blocks: int, places: Sequence[tuple[int, int]] = ()) -> Reuse:
        """Full everywhere but in ``places`` (step, block)."""
        chosen = set(places)
        return cls(tuple(
            "".join("R" if (i, b) in chosen else "F" for b in range(blocks)) for i in range(steps)
        ))  # fmt: skip


class Recalling(Protocol):
    """What a transformer asks of a cache. Caches of equal ``state`` recall alike."""

    @property
    def state(self) -> Hashable: ...
    def recall(self, step: int, block: int) -> Tensor | None: ...
    def keep(self, step: int, block: int, output: Tensor) -> None: ...


class AttentionCache:
    """The attention outputs of one chunk's blocks. ``hits`` counts what was not computed."""

    def __init__(self, reuse: Reuse) -> None:
        self._reuse = reuse
        self._kept: dict[int, Tensor] = {}
        self.hits = 0

    @property
    def state(self) -> Hashable:
        """What decides about the next recall: the table, and the blocks whose output is held."""
        return self._reuse, frozenset(self._kept)

    def recall(self, step: int, block: int) -> Tensor | None:
        """The output to use again, or None: compute it."""
        output = None if self._reuse.steps[step][block] == "F" else self._kept.get(block)
        self.hits += output is not None
        return output

    def keep(self, step: int, block: int, output: Tensor) -> None:
        """Remember an output if a later step will ask for it before it is computed again."""
        following = [word[block] for word in self._reuse.steps[step + 1 : step + 2]]
        if "R" in following:
            self._kept[block] = output
        else:
            self._kept.pop(block, None)


class JointCache:
    """The caches of several streams, each with its rows of a batch; all of the same state."""

    def __init__(self, caches: Sequence[Recalling], rows: Sequence[int]) -> None:
        self._caches, self._rows = list(caches), list(rows)

    @property
    def state(self) -> Hashable:
        return tuple(cache.state for cache in self._caches)

    def recall(self, step: int, block: int) -> Tensor | None:
        """The outputs to use again, row by row, or None: compute them."""
        outputs = [cache.recall(step, block) for cache in self._caches]
        there = [output for output in outputs if output is not None]
        return torch.cat(there) if there else None

    def keep(self, step: int, block: int, output: Tensor) -> None:
        """Hand every cache its rows."""
        for cache, own in zip(self._caches, output.split(self._rows), strict=True):
            cache.keep(step, block, own)


Error = Callable[[Reuse], float]


def propose(error: Error, steps: int, blocks: int, budget: float) -> Reuse:
    """The table with the most reuse whose ``error`` stays within ``budget``.

    ``error(table)`` runs samples with a table and says how far they are from full attention. Every
    place is tried alone first; then the longest list of the least harmful ones that together stay
    within the budget is found by halving, which takes steps * blocks + log2 runs.
    """
    places = [(i, b) for i in range(1, steps) for b in range(blocks)]
    alone = {place: error(Reuse.of(steps, blocks, [place])) for place in places}
    ranked = [p for p in sorted(places, key=alone.__getitem__) if alone[p] <= budget]
    low, high = 0, len(ranked)  # the first `low` stay within the budget, more than `high` are none
    while low < high:
        middle = (low + high + 1) // 2
        if error(Reuse.of(steps, blocks, ranked[:middle])) <= budget:
            low = middle
        else:
            high = middle - 1
    return Reuse.of(steps, blocks, ranked[:low])
