"""Every Triton kernel compiles for every card that it is meant for, and fits there; no GPU needed.

An interpreter ignores what a compiler refuses, and knows no limit of shared memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

KERNELS = ("sparse", "norm", "round-int8", "round-float8", "product-int8")
SHARED = 101_376  # bytes a block, of the 3090, 4090 and 5090; data-centre cards have more
SPILLS = 256  # bytes a thread
Resources = dict[str, dict[str, dict[str, int]]]


@pytest.fixture(scope="module")
def compiled() -> Resources:
    """kernel -> target -> bytes, from a process in which Triton compiles."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.acceleration.kernels.cross_compile"],
        capture_output=True, text=True, timeout=110, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: Resources = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_for_every_card_and_fits_its_shared_memory(
    compiled: Resources, name: str
) -> None:
    wanted = {"89", "90", "100"} if name == "round-float8" else {"80", "86", "89", "90", "100"}
    assert compiled[name].keys() == wanted
    for target, used in compiled[name].items():
        assert used["shared"] <= SHARED, f"{name} on sm_{target}"
        assert used["local"] <= SPILLS, f"{name} on sm_{target}"


def test_no_kernel_is_left_out() -> None:
    """A kernel that is added must be compiled here as well."""
    root = Path(__file__).parents[4] / "pipeline"
    count = sum(path.read_text().count("@triton.jit") for path in root.rglob("*.py"))
    assert count == 4  # of which one is compiled for int8 and for float8
