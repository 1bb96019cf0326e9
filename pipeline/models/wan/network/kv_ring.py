"""Keys and values that a causal run keeps: the first latents for ever, then the newest.

Keys are kept as they were before rotation, and rotated when read. Under absolute positions this is
what the published runs do (rotate once, never again), and it ends where their tables end; under
*relative* positions a latent's place is its place in the ring, which equals the absolute one until
the ring is full and stays inside it for ever after: nothing grows with the performance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Memory(Protocol):
    """What a transformer asks of a ring, or of the rings of several streams at once."""

    def places(self, start: int, fresh: int) -> Tensor: ...
    def past(self, block: int, fresh: int) -> tuple[Tensor, Tensor] | None: ...
    def keep(self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]) -> None: ...
    def kept(
        self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]
    ) -> Callable[[], None]:
        """Work out what ``keep`` leaves behind; nothing changes until what is returned is called,
        which cannot fail."""
        ...


@dataclass(slots=True)
class KvRing:
    """Memory of one stream, in latents; ``sink`` of the ``window`` are never evicted.

    ``window`` counts the block that is being generated too.
    """

    window: int
    sink: int
    relative: bool = True
    times: list[int] = field(default_factory=list)  # latents kept, by absolute number
    blocks: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # each (B, H, n S, D)

    def __post_init__(self) -> None:
        if not 0 <= self.sink < self.window:
            raise ValueError(f"sink {self.sink} must be less than the window {self.window}")

    def reset(self) -> None:
        """Forget; the next latent starts a performance."""
        self.times, self.blocks = [], []

    def visible(self, fresh: int) -> list[int]:
        """Slots that ``fresh`` new latents may attend to: the oldest after the sink are gone."""
        if fresh > self.window - self.sink:
            raise ValueError(
                f"{fresh} latents do not fit into {self.window} beside a sink of {self.sink}"
            )
        gone = max(len(self.times) + fresh - self.window, 0)
        return [i for i in range(len(self.times)) if not self.sink <= i < self.sink + gone]

    def places(self, start: int, fresh: int) -> Tensor:
        """Rotary times of the visible latents and of the new ones, which begin at ``start``."""
        slots = self.visible(fresh)
        if self.relative:
            return torch.arange(len(slots) + fresh)
        return torch.tensor([self.times[i] for i in slots] + list(range(start, start + fresh)))

    def past(self, block: int, fresh: int) -> tuple[Tensor, Tensor] | None:
        """What block ``block`` remembers of the visible latents."""
        slots = self.visible(fresh)
        if not slots:
            return None
        k, v = self.blocks[block]
        if len(slots) == len(self.times):
            return k, v
        size = k.shape[2] // len(self.times)
        first, gone = self.sink * size, (len(self.times) - len(slots)) * size
        return tuple(torch.cat([y[:, :, :first], y[:, :, first + gone :]], dim=2) for y in (k, v))  # type: ignore[return-value]

    def keep(self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take in the clean latents [start, start + fresh), and evict to make room."""
        self.kept(start, fresh, own)()

    def kept(
        self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]
    ) -> Callable[[], None]:
        """What ``keep`` remembers, once this is called."""
        slots = self.visible(fresh)
        blocks = []
        for block, (k, v) in enumerate(own):
            past = self.past(block, fresh)
            if past is not None:
                k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            blocks.append((k, v))
        times = [self.times[i] for i in slots] + list(range(start, start + fresh))

        def take() -> None:
            self.times, self.blocks = times, blocks

        return take


class JointRing:
    """The rings of several streams as one memory: each with its next latent, and its rows of the
    batch. Their visible latents have to be equally many."""

    def __init__(self, rings: Sequence[tuple[Memory, int, int]]) -> None:
        self._rings = list(rings)

    def places(self, start: int, fresh: int) -> Tensor:
        """Those of the first one: streams are only joined where they agree."""
        return self._rings[0][0].places(start, fresh)

    def past(self, block: int, fresh: int) -> tuple[Tensor, Tensor] | None:
        """What the block remembers of every stream, row by row."""
        pasts = [ring.past(block, fresh) for ring, _, _ in self._rings]
        there = [past for past in pasts if past is not None]
        if not there:
            return None
        return torch.cat([k for k, _ in there]), torch.cat([v for _, v in there])

    def keep(self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Hand every ring its rows, which it takes in at its own place."""
        self.kept(start, fresh, own)()

    def kept(
        self, start: int, fresh: int, own: Sequence[tuple[Tensor, Tensor]]
    ) -> Callable[[], None]:
        """All of them or none, so that a batch that fails can be asked for again."""
        rows = [count for _, _, count in self._rings]
        split = [(k.split(rows), v.split(rows)) for k, v in own]
        takes = [
            ring.kept(first, fresh, [(k[i], v[i]) for k, v in split])
            for i, (ring, first, _) in enumerate(self._rings)
        ]

        def take() -> None:
            for each in takes:
                each()

        return take
