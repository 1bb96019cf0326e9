"""The acceleration table: rows that cannot run say why, and the others still do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.acceleration import Figures, Row, Skipped, compared, measure, relative

ROOT = Path(__file__).parent.parent


def refuse() -> Figures:
    raise Skipped("it needs a CUDA device")


def test_a_row_that_cannot_run_keeps_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a", "first", refuse), Row("b", "second", lambda: Figures(2.0, 0.1, note="fine"))]
    table = measure(rows, "")
    assert [entry["note"] for entry in table] == ["not run: it needs a CUDA device", "fine"]
    assert "2.00x" in capsys.readouterr().out
    assert [entry["name"] for entry in measure(rows, "second")] == ["second"]


def test_works_are_timed_in_turns() -> None:
    order: list[str] = []
    compared([lambda: order.append("a"), lambda: order.append("b")], "cpu", 2)
    assert order == ["a", "b"] * 3


def test_errors_are_relative_to_the_plain_result() -> None:
    assert relative(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)


@pytest.mark.slow
def test_the_command_prints_a_table_and_a_line_for_machines() -> None:
    if torch.cuda.is_available():
        pytest.skip("the row that is asked for may run here")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.acceleration", "--model", "tiny", "--only", "flash2",
         "--json"], cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert row["note"] == "not run: it needs a CUDA device, not cpu"
