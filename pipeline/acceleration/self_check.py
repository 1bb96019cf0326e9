"""Checks a fast path against torch's own, on the device that will compute; refuses it on error.

A kernel may not compile, may need more shared memory than a card has, or may be wrong on one card
only. So each one runs once at load. If it raises or disagrees, the reason is reported and torch's
own path runs instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import BackendRefused

Work = Callable[[], Tensor]
REPEATS: Final = 5


def agree(name: str, fast: Work, plain: Work, bound: float) -> float:
    """Relative error of ``fast``; ``BackendRefused`` past ``bound``, on NaN, or if it fails."""
    exact = plain().double()
    try:
        ours = fast().double()  # reading it below waits for the device
        error = float((ours - exact).norm() / exact.norm().clamp(min=1e-30))
    except Exception as failure:  # whatever a kernel raises, it is of no use here
        told = " ".join(str(failure).split())[:300]
        raise BackendRefused(f"{name} fails: {type(failure).__name__}: {told}") from failure
    if not error <= bound:  # also when it is NaN
        raise BackendRefused(f"{name} is off by {error:.2g}, at most {bound:g} is allowed")
    return error


def seconds(work: Work, device: torch.device) -> float:
    """The quickest of a few runs: what the device needs, not what launching it takes."""
    work()
    return min(_once(work, device) for _ in range(REPEATS))


def _once(work: Work, device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    with torch.cuda.device(device):
        began_at, ended_at = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began_at.record()
        work()
        ended_at.record()
        ended_at.synchronize()
        return float(began_at.elapsed_time(ended_at)) / 1e3
