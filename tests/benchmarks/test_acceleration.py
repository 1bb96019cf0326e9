"""The acceleration table: rows that cannot run say why, and the others still do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.acceleration import Figures, Row, Skipped, compared, measure, relative

ROOT = Path(__file__).parents[2]


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


def test_a_large_model_is_cut_to_what_fits_beside_a_twin() -> None:
    from benchmarks.acceleration_subject import SHAPES, depth_that_fits

    gpu = 79 * 2**30
    assert depth_that_fits(SHAPES["wan-1.3b"], gpu) == 30
    assert 20 < depth_that_fits(SHAPES["wan-14b"], gpu) < 40
    assert depth_that_fits(SHAPES["wan-14b"], 16 * 2**30) == 2
    for name, parameters in (("wan-1.3b", 1.3e9), ("wan-14b", 14e9)):
        shape = SHAPES[name]
        assert shape.depth * shape.block == pytest.approx(parameters, rel=0.1)


@pytest.mark.slow
def test_every_switch_has_a_row_and_those_of_whole_models_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import acceleration_subject as subject
    from benchmarks.acceleration import Options
    from benchmarks.acceleration_wan import rows

    if torch.cuda.is_available():
        pytest.skip("more rows run here")
    thin = subject.Shape(48, 96, 6, 2, 3, 4, 4, 7)
    monkeypatch.setitem(subject.SHAPES, "tiny", thin)
    found = list(rows(Options("tiny", "cpu", 1, seed=3)))
    groups = {row.group for row in found}
    assert groups == {"lossless", "type", "launch", "CFG cache", "reuse", "attention", "linears",
                      "offload", "peer", "decoder", "streams", "whole"}  # fmt: skip
    assert len({(row.group, row.name) for row in found}) == len(found) > 30
    with torch.inference_mode():
        chosen = [row for row in found if row.group in ("streams", "offload", "whole")]
        heavy = ("diffusers", "cpu")
        table = measure([r for r in chosen if not any(word in r.name for word in heavy)], "")
    figures = {str(entry["name"]): entry for entry in table}
    for name in ("4 in one batch", "4 in one batch, two slots"):
        assert figures[name]["error"] < 1e-5 and "frames/s" in str(figures[name]["note"])
    assert figures["own, two slots"]["error"] == 0
    skipped = [str(entry["note"]) for entry in table if entry["speed"] is None]
    assert len(skipped) == 3 and all("for a CUDA device" in note for note in skipped)
