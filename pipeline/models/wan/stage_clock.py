"""How long each stage of a step takes on the device.

Launching work on a CUDA device returns at once, so a host clock measures launches only. Events are
queued on the device between the stages and read when frames have come back to the host, which is
after all of them: nothing waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch


class StageClock(Protocol):
    """Marks moments, and tells the seconds between two of them once they are past."""

    def mark(self) -> Any: ...
    def between(self, begin: Any, end: Any) -> float: ...


class HostClock:
    """For a device that is done when a call returns."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now

    def mark(self) -> float:
        return self._now()

    def between(self, begin: float, end: float) -> float:
        return end - begin


class CudaClock:
    """Events in the device's queue."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def between(self, begin: Any, end: Any) -> float:
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


def stage_clock(device: torch.device | str) -> StageClock:
    """The clock of a device."""
    place = torch.device(device)
    return CudaClock(place) if place.type == "cuda" else HostClock()


class Stages:
    """The stages of one step, one after another: ``enter`` each, ``seconds`` of each at the end."""

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock
        self._marks: list[tuple[str, Any]] = []

    def enter(self, stage: str) -> None:
        """What follows is ``stage``."""
        self._marks.append((stage, self._clock.mark()))

    def seconds(self) -> Sequence[tuple[str, float]]:
        """Every stage with its seconds, the last one until now; of no use while work is queued."""
        marks = [*self._marks, ("", self._clock.mark())]
        return [
            (stage, self._clock.between(begin, end))
            for (stage, begin), (_, end) in zip(marks, marks[1:], strict=False)
        ]
