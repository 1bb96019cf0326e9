"""``python -m benchmarks.gpu``: what no CPU can prove about the fast paths, on one CUDA device.

Prints a table as checks come, and one JSON at the end. ``--device cpu --tiny`` proves the checks
themselves without a device. Exit status: 0 no verdict is bad, 1 some are, 2 there is no device.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from benchmarks.gpu import kernels, memory, models
from benchmarks.gpu.bench import Absent, Bench
from benchmarks.gpu.runner import Run, line, run_checks

# In the order of what one most wants to know; seconds at most.
CHECKS: Final[dict[str, tuple[Callable[[Bench], None], float]]] = {
    "machine": (kernels.machine, 45), "norm-kernel": (kernels.norm_kernel, 40),
    "sparse-kernel": (kernels.sparse_kernel, 60), "devices-agree": (models.devices_agree, 40),
    "attention": (kernels.attention, 60), "chunk": (models.chunk, 60),
    "shipped": (models.shipped, 110), "linears": (kernels.linears, 75), "vae": (models.vae, 60),
    "streams": (models.streams, 45), "offload": (memory.offload, 60),
    "memory24": (memory.memory24, 150), "resident14": (memory.resident14, 60),
    "peer": (models.peer, 60), "graphs": (models.graphs, 40), "waits": (models.waits, 25),
    "compile": (models.compilation, 110), "host": (memory.host, 60),
    "sparse-float32": (kernels.sparse_float32, 60),
}  # fmt: skip


def options() -> argparse.ArgumentParser:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1, or cpu")
    add("--tiny", action="store_true", help="small sizes, to prove the checks themselves")
    add("--seconds", type=float, default=600, help="for everything")
    add("--only", default=",".join(CHECKS), help="names of checks, by commas")
    add("--json", type=Path, metavar="FILE", help="where rows go as well")
    add("--worker", choices=tuple(CHECKS), help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs them; returns the exit status."""
    parser = options()
    asked = parser.parse_args(arguments)
    if asked.worker:
        return _work(asked.worker, asked.device, asked.tiny)
    names = asked.only.split(",")
    if unknown := sorted(set(names) - CHECKS.keys()):
        parser.error(f"no check is called {', '.join(unknown)}; known are {', '.join(CHECKS)}")
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch sees no CUDA device; --device cpu --tiny proves the checks", file=sys.stderr)
        return 2
    limits = {name: limit for name, (_, limit) in CHECKS.items()}
    how = Run(asked.device, asked.tiny, asked.seconds)
    rows = run_checks(names, limits, how, lambda row: print(line(row), flush=True))
    told = json.dumps({"device": asked.device, "tiny": asked.tiny, "rows": rows})
    print(told)
    if asked.json:
        asked.json.write_text(told)
    return int(any(row["good"] is False for row in rows))


def _work(name: str, device: str, tiny: bool) -> int:
    """One check in this process."""
    torch.manual_seed(torch.seed() % 2**31)
    if tiny:
        torch.set_num_threads(1)
    b = Bench(device, tiny)
    with torch.no_grad():
        try:
            CHECKS[name][0](b)
        except Absent as reason:
            b.row("not run", note=str(reason))
    return 0


if __name__ == "__main__":
    sys.exit(main())
