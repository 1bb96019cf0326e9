"""What checks share: the device, rows with verdicts, timing. Each row is one line of JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

GIB: Final = 2**30
ROW: Final = "row "  # before a row, in what a check prints


class Absent(Exception):
    """What a check needs is not on this machine."""


class Bench:
    """``tiny`` sizes prove the checks themselves; their bars are not judged."""

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.tiny = torch.device(device), tiny
        self.cuda = self.device.type == "cuda"
        self.half = torch.bfloat16 if self.cuda else torch.float32

    def row(
        self, name: str, value: float | None = None, unit: str = "", good: bool | None = None,
        note: str = "",
    ) -> None:  # fmt: skip
        """``good`` None: a figure without a verdict."""
        if value is not None and not math.isfinite(value):
            value = None
        told = {"name": name, "value": value, "unit": unit, "good": good, "note": note[:500]}
        print(ROW + json.dumps(told), flush=True)

    def bar(self, name: str, value: float, unit: str, least: float, note: str = "") -> None:
        """A figure that has to reach ``least``, at full size on a device."""
        judged = value >= least if self.cuda and not self.tiny else None
        self.row(name, value, unit, judged, f"bar {least:g}; {note}".rstrip("; "))

    def near(self, name: str, ours: Tensor, exact: Tensor, bound: float) -> None:
        """Relative error within ``bound``; NaN never is."""
        a, b = ours.detach().double().cpu(), exact.detach().double().cpu()
        error = float((a - b).norm() / b.norm()) if a.shape == b.shape else math.inf
        self.row(name, error, "relative error", error <= bound, f"bound {bound:g}")

    def attempt(self, name: str, work: Callable[[], Any]) -> None:
        """A part whose failure is a finding and not the end of its check."""
        try:
            work()
        except Absent as reason:
            self.row(name, note=f"not run: {reason}")
        except Exception as failure:  # every failure is a finding
            told = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
            self.row(name, good=False, note=told)
            if "CUDA error" in told:  # the context is lost: nothing after it would be true
                raise

    def seconds(self, work: Callable[[], Any], repeats: int = 5) -> float:
        """Median of a few runs, to the end of the device's work."""
        work()
        self.wait()
        taken = []
        for _ in range(1 if self.tiny else repeats):
            began = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - began)
        return median(taken)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def noise(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=dtype or self.half)

    def peak(self) -> str:
        """The peak of device memory, for notes."""
        if not self.cuda:
            return ""
        return f"peak {torch.cuda.max_memory_allocated(self.device) / GIB:.2f} GiB"

    def need_cuda(self) -> None:
        if not self.cuda:
            raise Absent("it needs a CUDA device")
