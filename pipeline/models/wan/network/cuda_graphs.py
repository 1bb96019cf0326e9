"""Forwards whose launches cost more than their work, recorded once a shape and replayed.

A recording reads and writes fixed memory: inputs are copied in, the output is copied out. What a
chunk does not change between steps, the hints, is recognised and not copied again. ``CudaRecorder``
records CUDA graphs; any other recorder serves where there is no such device, tests above all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[..., Tensor]


class Recorder(Protocol):
    """Turns work on fixed memory into something that can be repeated."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """How to repeat ``work``, and where its output will be."""
        ...


class CudaRecorder:
    """CUDA graphs of one device, in one memory pool."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        with torch.cuda.device(self._device):  # streams and graphs are the current device's
            return self._record(work)

    def _record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # lazy initialisation must not be recorded
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = work()
        return graph.replay, output


class _Recording:
    def __init__(self, recorder: Recorder, work: Work, inputs: Sequence[Tensor]) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._last: list[Tensor | None] = [None] * len(inputs)
        self._replay, self._output = recorder.record(lambda: work(*self._inputs))
        self.copied = 0

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        for i, (place, given) in enumerate(zip(self._inputs, inputs, strict=True)):
            if self._last[i] is not given:
                place.copy_(given)
                self.copied += 1
                self._last[i] = given
        self._replay()
        return self._output.clone()


class Graphs:
    """Recordings of forwards of at most ``limit`` tokens, by key and shapes. ``limit`` bounds the
    work that is recorded, ``most`` the recordings: another one is refused with ``ValueError``."""

    def __init__(self, recorder: Recorder, limit: int, most: int = 16) -> None:
        self._recorder, self.limit, self._most = recorder, limit, most
        self._recordings: dict[Hashable, _Recording] = {}
        self.replays = 0

    def run(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> Tensor:
        """``work(*inputs)``; tensors of equal shapes and key are the same recording."""
        full = (key, tuple((x.shape, x.dtype) for x in inputs))
        found = self._recordings.get(full)
        if found is None:
            if len(self._recordings) >= self._most:
                raise ValueError(f"{self._most} shapes are recorded already, and {inputs[0].shape} "
                                 "is another one")  # fmt: skip
            found = self._recordings[full] = _Recording(self._recorder, work, inputs)
        self.replays += 1
        return found(inputs)
