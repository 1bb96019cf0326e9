"""Blocks streamed from host memory: right weights at the right time, within the bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from pipeline.acceleration.offload import (
    BlockStream,
    CudaTransport,
    HostTransport,
    least_budget,
    pinned_bytes,
    plan_resident,
)
from pipeline.errors import ModelTooLarge
from tests.pipeline.models.wan import small


class Block(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(32, 32)
        self.gain = nn.Parameter(torch.randn(32, dtype=torch.float64), requires_grad=False)
        self.register_buffer("small", torch.randint(-9, 9, (32,), dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x) * self.gain.float() + self.small.float()
        return torch.tanh(y)


def blocks(count: int = 6) -> list[Block]:
    return [Block(i).requires_grad_(False) for i in range(count)]


SIZE = 4096 + 256 + 256 + 256  # bytes of a block, aligned


def run(stream: Any, x: Tensor) -> Tensor:
    for block in stream():
        x = block(x)
    return x


class Queues(HostTransport):
    """A device with a queue of copies: a copy happens as late as is allowed, when it is waited for,
    and computing reads the slot at that moment. Every use is written down."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.log: list[str] = []
        self._pending: list[tuple[int, Tensor, Tensor]] = []
        self._count = 0

    def load(self, slot: Tensor, source: Tensor, after: Any) -> Any:
        self._count += 1
        self.log.append(f"load {self._count}" + ("" if after is None else f" after {after}"))
        self._pending.append((self._count, slot, source))
        return self._count

    def wait(self, loaded: Any) -> None:
        self.log.append(f"wait {loaded}")
        for number, slot, source in self._pending:
            if number <= loaded:
                slot[: len(source)].copy_(source)
        self._pending = [entry for entry in self._pending if entry[0] > loaded]

    def mark(self) -> Any:
        self.log.append("mark")
        return self.log.count("mark")


@pytest.mark.parametrize("budget", [2 * SIZE, 3 * SIZE, 5 * SIZE, 6 * SIZE, 10**9])
def test_streamed_blocks_compute_what_resident_blocks_compute(budget: int) -> None:
    x = torch.randn(4, 32)
    expected = run(blocks, x)
    stream = BlockStream(blocks(), "cpu", budget)
    for _ in range(3):
        assert torch.equal(run(stream, x), expected)
    assert stream.device_bytes <= budget


def test_every_block_that_does_not_stay_is_copied_once_a_pass() -> None:
    stream = BlockStream(blocks(), "cpu", 3 * SIZE)
    assert len(stream.resident) == 1
    run(stream, torch.zeros(1, 32))
    assert stream.loads == 5 + 1  # and the first one of the next pass is on its way
    run(stream, torch.zeros(1, 32))
    assert stream.loads == 10 + 1


def test_all_blocks_stay_if_all_fit() -> None:
    stream = BlockStream(blocks(), "cpu", 6 * SIZE)
    run(stream, torch.zeros(1, 32))
    assert stream.loads == 0 and len(stream.resident) == 6


def test_a_copy_begins_before_it_is_needed_and_not_before_its_slot_is_free() -> None:
    way = Queues()
    stream = BlockStream(blocks(4), "cpu", 2 * SIZE, way=way)
    x = torch.randn(2, 32)
    expected = run(lambda: blocks(4), x)
    assert torch.equal(run(stream, x), expected)
    assert way.log == [
        "load 1", "load 2", "wait 1", "mark",
        "load 3 after 1", "wait 2", "mark",
        "load 4 after 2", "wait 3", "mark",
        "load 5 after 3", "wait 4", "mark",
    ]  # fmt: skip
    assert torch.equal(run(stream, x), expected)


def test_a_pass_that_is_given_up_leaves_the_next_one_whole() -> None:
    way = Queues()
    stream = BlockStream(blocks(), "cpu", 2 * SIZE, way=way)
    for given_up in range(1, 5):
        broken = stream()
        for _ in range(given_up):
            next(broken)
        broken.close()
        x = torch.randn(2, 32)
        assert torch.equal(run(stream, x), run(blocks, x))


def test_between_passes_the_weights_can_be_read_on_the_host() -> None:
    kept = {k: v.clone() for k, v in blocks(3)[1].state_dict().items()}
    own = blocks(3)
    stream = BlockStream(own, "cpu", 2 * SIZE)
    run(stream, torch.zeros(1, 32))
    assert all(torch.equal(v, kept[k]) for k, v in own[1].state_dict().items())


def test_named_tensors_stay_on_the_device_and_do_not_count() -> None:
    stream = BlockStream(blocks(), "cpu", 2 * SIZE, keep=("gain", "small"))
    x = torch.randn(2, 32)
    assert torch.equal(run(stream, x), run(blocks, x))
    assert stream.device_bytes < 2 * SIZE


def test_a_bound_below_two_slots_is_refused_with_what_is_needed() -> None:
    with pytest.raises(ModelTooLarge, match="two slots for blocks of"):
        BlockStream(blocks(), "cpu", 2 * SIZE - 1)


def test_blocks_that_stay_are_spread_evenly() -> None:
    assert plan_resident([10] * 8, 40) == {2, 6} or plan_resident([10] * 8, 40) == {1, 5}
    assert plan_resident([10] * 8, 20) == frozenset()
    assert plan_resident([10] * 8, 80) == frozenset(range(8))
    for budget in range(20, 80):
        held = plan_resident([10] * 8, budget)
        assert 10 * (len(held) + 2) <= budget


def test_the_largest_blocks_stay_so_that_slots_are_small() -> None:
    """A first block in 16 bits among others in 8 does not make room for two of its size."""
    sizes = [20, *[10] * 39]
    held = plan_resident(sizes, 260)
    assert 0 in held and len(held) == 23  # 20 + 22 x 10 + two slots of 10 = 260
    assert plan_resident([10, 10, 10, 30], 50) == {3}


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 700)
)  # fmt: skip
def test_a_plan_never_exceeds_its_budget_and_leaves_no_room_for_another_block(
    sizes: list[int], budget: int
) -> None:
    if budget < min(least_budget(sizes), sum(sizes)):
        with pytest.raises(ModelTooLarge):
            plan_resident(sizes, budget)
        return
    held = plan_resident(sizes, budget)
    moved = [size for i, size in enumerate(sizes) if i not in held]
    used = sum(sizes[i] for i in held) + 2 * max(moved, default=0)
    assert used <= budget
    assert not moved or used + min(moved) > budget or len(moved) == 1


@pytest.mark.parametrize(("size", "pinned"), [(1, 1), (1000, 1024), (2**20, 2**20)])
def test_pinned_memory_is_counted_as_torch_rounds_it(size: int, pinned: int) -> None:
    assert pinned_bytes(size) == pinned


class Noted(Queues):
    """Queues that note what is pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[Tensor] = []

    def pin(self, buffer: Tensor) -> Tensor:
        self.pinned.append(buffer)
        return buffer


def test_every_block_that_moves_is_pinned_and_no_other() -> None:
    way = Noted()
    stream = BlockStream(blocks(), "cpu", 3 * SIZE, way=way)
    assert len(way.pinned) == 5
    for i, parcel in enumerate(stream._parcels):
        assert any(parcel.bytes is buffer for buffer in way.pinned) == (i not in stream.resident)


class FakeCuda:
    """What ``CudaTransport`` asks of torch.cuda, written down."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = "computing"

    def Stream(self, _: object) -> Any:  # noqa: N802
        return SimpleNamespace(
            wait_event=lambda e: self.log.append(f"copies wait for {e}"),
            record_event=lambda: f"end of {self.now}",
        )

    def current_stream(self, _: object) -> Any:
        return SimpleNamespace(
            wait_event=lambda e: self.log.append(f"computing waits for {e}"),
            record_event=lambda: "end of computing",
        )

    @contextmanager
    def stream(self, _: object) -> Iterator[None]:
        self.now = "copies"
        yield
        self.now = "computing"


def test_copies_have_a_queue_of_their_own_and_pinned_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeCuda()
    for name in ("Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda x: pinned.append(x) or x)
    copied: list[tuple[str, bool]] = []
    plain = Tensor.copy_
    monkeypatch.setattr(Tensor, "copy_", lambda x, y, non_blocking=False: copied.append(
        (fake.now, non_blocking)) or plain(x, y))  # fmt: skip
    way = CudaTransport(torch.device("cuda"))
    source, slot = torch.arange(8, dtype=torch.uint8), torch.zeros(16, dtype=torch.uint8)
    assert way.pin(source) is source and pinned == [source]
    loaded = way.load(slot, source, way.mark())
    way.wait(loaded)
    assert copied == [("copies", True)] and torch.equal(slot[:8], source)
    assert fake.log == ["copies wait for end of computing", "computing waits for end of copies"]


def test_a_transformer_streams_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, streamed = small.dit("A"), small.dit("A")
    size = max(sum(p.nbytes + 256 for p in b.parameters()) for b in plain.blocks)
    streamed.carrier = BlockStream(list(streamed.blocks), "cpu", 3 * size, keep=("modulation",))
    x, text, audio = torch.randn(1, 33, 2, 4, 4), torch.randn(1, 5, 20), torch.randn(1, 2, 56)
    outs = [
        model(x, torch.tensor([700.0]), model.encode(text, audio=audio))
        for model in (plain, streamed)
    ]
    assert torch.equal(*outs)
    assert streamed.carrier.loads > 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_streaming_to_a_gpu_computes_the_same() -> None:
    x = torch.randn(64, 32)
    stream = BlockStream(blocks(12), "cuda", 3 * SIZE)
    for _ in range(5):
        ours = run(stream, x.cuda()).cpu()
        assert small.relative(ours, run(lambda: blocks(12), x)) < 1e-5
