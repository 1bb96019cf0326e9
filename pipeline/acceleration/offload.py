"""Blocks streamed from host memory: a model larger than its device, at nearly its speed.

The weights of every block that moves lie in one pinned buffer each. Two slots on the device take
turns: while a block computes in one, the next block is copied into the other on a stream of its
own. Blocks that fit into the memory bound besides stay on the device, the largest first, so that
slots are small, and those of one size spread evenly, so that the copies between them have time.
Events order the two streams; the host waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.errors import ModelTooLarge
from pipeline.weights.files import gib

ALIGNMENT = 256  # bytes, of each tensor in a buffer


class Transport(Protocol):
    """A device and its queues: where slots lie, how bytes get there, and in which order."""

    def slot(self, size: int) -> Tensor:
        """Room for ``size`` bytes on the device, uint8."""
        ...

    def pin(self, buffer: Tensor) -> Tensor:
        """The same bytes in host memory that can be copied from at full speed."""
        ...

    def load(self, slot: Tensor, source: Tensor, after: Any) -> Any:
        """Queue a copy behind ``after`` (None: at once); returns what marks its end."""
        ...

    def wait(self, loaded: Any) -> None:
        """Let the computing queue go on behind a copy."""
        ...

    def mark(self) -> Any:
        """What marks the end of all that is queued for computing so far."""
        ...


class CudaTransport:
    """Copies on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)

    def slot(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self._device)

    def pin(self, buffer: Tensor) -> Tensor:
        return buffer.pin_memory()

    def load(self, slot: Tensor, source: Tensor, after: Any) -> Any:
        with torch.cuda.stream(self._copies):
            if after is not None:
                self._copies.wait_event(after)
            slot[: len(source)].copy_(source, non_blocking=True)
            return self._copies.record_event()

    def wait(self, loaded: Any) -> None:
        torch.cuda.current_stream(self._device).wait_event(loaded)

    def mark(self) -> Any:
        return torch.cuda.current_stream(self._device).record_event()


class HostTransport:
    """A device without queues of its own: every copy is done when it is asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def slot(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self._device)

    def pin(self, buffer: Tensor) -> Tensor:
        return buffer

    def load(self, slot: Tensor, source: Tensor, after: Any) -> Any:
        slot[: len(source)].copy_(source)

    def wait(self, loaded: Any) -> None:
        return

    def mark(self) -> Any:
        return None


def transport(device: torch.device) -> Transport:
    """The way to a device."""
    return CudaTransport(device) if device.type == "cuda" else HostTransport(device)


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor of a block, and where it lies in the block's buffer."""

    owner: nn.Module
    leaf: str
    start: int
    dtype: torch.dtype
    shape: torch.Size

    def view(self, buffer: Tensor) -> Tensor:
        size = self.shape.numel() * self.dtype.itemsize
        return buffer[self.start : self.start + size].view(self.dtype).view(self.shape)

    def put(self, value: Tensor) -> None:
        if self.leaf in self.owner._parameters:
            self.owner._parameters[self.leaf] = nn.Parameter(value, requires_grad=False)
        else:
            self.owner._buffers[self.leaf] = value


@dataclass(frozen=True, slots=True)
class Parcel:
    """A block, its tensors, and their bytes on the host."""

    block: nn.Module
    pieces: tuple[Piece, ...]
    bytes: Tensor

    def place(self, buffer: Tensor) -> None:
        """Let the block's tensors be views of ``buffer``."""
        for piece in self.pieces:
            piece.put(piece.view(buffer))


class BlockStream:
    """Brings ``blocks`` to a device one after another; ``budget`` bytes hold what stays there and
    two slots. Tensors whose name within the block matches ``keep`` stay on the device and do not
    count: they are small, or are needed outside the block's turn.

    Raises ``ModelTooLarge`` if not even two slots fit. ``loads`` counts the copies of blocks.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        device: torch.device | str,
        budget: int,
        keep: Sequence[str] = (),
        way: Transport | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._way = way or transport(self._device)
        sizes = [block_bytes(block, keep) for block in blocks]
        self.resident = plan_resident(sizes, budget)
        self._streamed = [i for i in range(len(blocks)) if i not in self.resident]
        self._parcels = [
            self._pack(block, keep, i in self.resident) for i, block in enumerate(blocks)
        ]
        size = max((sizes[i] for i in self._streamed), default=0)
        self._slots = [self._way.slot(size) for _ in range(min(2, len(self._streamed)))]
        self._free: list[Any] = [None] * len(self._slots)  # when each slot's block had computed
        self._ahead: dict[int, tuple[int, Any]] = {}  # block -> its slot, and the end of its copy
        self._computing: int | None = None  # the slot of the block in use
        self.loads = 0

    def _pack(self, block: nn.Module, keep: Sequence[str], stays: bool) -> Parcel:
        """The block's tensors in one buffer: on the device if it stays, else pinned."""
        pieces, values, end = [], [], 0
        for name, value in [*block.named_parameters(), *block.named_buffers()]:
            owner, _, leaf = name.rpartition(".")
            module = block.get_submodule(owner)
            if any(fnmatch(name, pattern) for pattern in keep):
                Piece(module, leaf, 0, value.dtype, value.shape).put(
                    value.to(self._device).detach()
                )
                continue
            pieces.append(Piece(module, leaf, end, value.dtype, value.shape))
            values.append(value)
            end += _aligned(value.nbytes)
        buffer = self._way.slot(end) if stays else torch.empty(end, dtype=torch.uint8)
        for piece, value in zip(pieces, values, strict=True):
            piece.view(buffer).copy_(value)
        parcel = Parcel(block, tuple(pieces), buffer if stays else self._way.pin(buffer))
        parcel.place(parcel.bytes)
        return parcel

    @property
    def device_bytes(self) -> int:
        """What the stream holds on the device, without what is kept by name."""
        held = sum(len(self._parcels[i].bytes) for i in self.resident)
        return held + sum(len(slot) for slot in self._slots)

    def __call__(self) -> Iterator[nn.Module]:
        """The blocks in order, once. Each may be used until the next one is asked for."""
        self._ahead = {i: self._ahead[i] for i in self._streamed[:1] if i in self._ahead}
        for i, parcel in enumerate(self._parcels):
            if i in self.resident:
                yield parcel.block
                continue
            self._prefetch(i)
            slot, loaded = self._ahead.pop(i)
            self._computing = slot
            self._prefetch(self._after(i))
            self._way.wait(loaded)
            parcel.place(self._slots[slot])
            try:
                yield parcel.block
            finally:  # also where the pass is given up
                self._free[slot] = self._way.mark()
                self._computing = None
                parcel.place(parcel.bytes)

    def _after(self, i: int) -> int:
        """The next streamed block; the first one of the next pass follows the last."""
        later = [j for j in self._streamed if j > i]
        return later[0] if later else self._streamed[0]

    def _prefetch(self, i: int) -> None:
        """Begin the copy of block ``i`` unless it is under way or both slots are taken."""
        taken = {slot for slot, _ in self._ahead.values()} | {self._computing}
        free = [slot for slot in range(len(self._slots)) if slot not in taken]
        if i in self._ahead or not free:
            return
        slot = free[0]
        loaded = self._way.load(self._slots[slot], self._parcels[i].bytes, self._free[slot])
        self._ahead[i] = (slot, loaded)
        self.loads += 1


def block_bytes(block: nn.Module, keep: Sequence[str] = ()) -> int:
    """What a block's buffer takes, without the tensors that ``keep`` names; on any device."""
    named = [*block.named_parameters(), *block.named_buffers()]
    return sum(
        _aligned(value.nbytes)
        for name, value in named
        if not any(fnmatch(name, pattern) for pattern in keep)
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def pinned_bytes(size: int) -> int:
    """Host memory that pinning ``size`` bytes takes: torch rounds it to a power of two."""
    return 1 << max(size - 1, 0).bit_length()


def least_budget(sizes: Sequence[int]) -> int:
    """The least that blocks can be streamed with: the larger ones stay where that takes less than
    slots of their size."""
    if len(sizes) < 2:
        return sum(sizes)
    ranked = sorted(sizes, reverse=True)
    return min(sum(ranked[:k]) + 2 * ranked[k] for k in range(len(ranked) - 1))


def plan_resident(sizes: Sequence[int], budget: int) -> frozenset[int]:
    """Which blocks stay on the device beside two slots for the largest of the others: as many bytes
    as fit, all if all fit. Raises ``ModelTooLarge`` naming what is needed."""
    if sum(sizes) <= budget:
        return frozenset(range(len(sizes)))
    if budget < least_budget(sizes):
        raise ModelTooLarge(f"two slots for blocks of {gib(max(sizes))} need "
                            f"{gib(least_budget(sizes))}, {gib(budget)} are allowed")  # fmt: skip
    plans = [_with_slots(sizes, budget, slot) for slot in sorted(set(sizes))]
    return max((plan for plan in plans if plan is not None),
               key=lambda plan: sum(sizes[i] for i in plan))  # fmt: skip


def _with_slots(sizes: Sequence[int], budget: int, slot: int) -> frozenset[int] | None:
    """All blocks that are larger than ``slot``, then what fits beside two slots, largest first."""
    stay = {i for i, size in enumerate(sizes) if size > slot}
    room = budget - 2 * slot - sum(sizes[i] for i in stay)
    if room < 0:
        return None
    for size in sorted({s for s in sizes if s <= slot}, reverse=True):
        alike = [i for i, s in enumerate(sizes) if s == size]
        count = min(room // size if size else len(alike), len(alike))
        room -= count * size
        stay |= {alike[round((k + 0.5) * len(alike) / count - 0.5)] for k in range(count)}
    return frozenset(stay)
