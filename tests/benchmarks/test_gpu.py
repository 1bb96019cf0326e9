"""The checks of the GPU benchmark run here in small, each alone and for so long at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as gpu, runner
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.runner import Run, line, run_checks

ON_CUDA_ALONE = {"machine", "waits"}


@pytest.mark.parametrize("name", sorted(gpu.CHECKS.keys() - {"vae", "linears"}))
def test_a_check_gives_rows_and_no_bad_verdict(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    assert gpu._work(name, "cpu", tiny=True) == 0
    out = capsys.readouterr().out.splitlines()
    rows = [json.loads(row.removeprefix("row ")) for row in out if row.startswith("row ")]
    assert rows and not [row for row in rows if row["good"] is False]
    told = any(row["value"] is not None or row["good"] for row in rows)
    assert told == (name not in ON_CUDA_ALONE) or name == "attention"
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vae", "linears"])
def test_a_check_that_wakes_other_packages_gives_rows(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu._work(name, "cpu", tiny=True) == 0
    rows = [json.loads(r[4:]) for r in capsys.readouterr().out.splitlines() if r[:4] == "row "]
    assert len(rows) > 5 and not [row for row in rows if row["good"] is False]


def test_there_are_nineteen_checks() -> None:
    assert len(gpu.CHECKS) == 19


def replaced(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Every check is this program."""
    plain = runner.subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        return plain([command[0], "-c", script], **options)

    monkeypatch.setattr(runner.subprocess, "run", run)


def rows_of(limit: float = 10.0) -> list[dict[str, Any]]:
    return run_checks(["a", "b"], {"a": limit, "b": limit}, Run("cpu", True, 60.0), lambda _: None)


def test_a_check_that_dies_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, 'print(\'row {"name": "x", "value": 1, "unit": "s", "good": true, '
                          '"note": ""}\'); raise SystemExit("CUDA error: gone")')  # fmt: skip
    rows = rows_of()
    assert [row["check"] for row in rows] == ["a", "a", "b", "b"]
    assert rows[0]["good"] and rows[1]["good"] is False and "CUDA error" in rows[1]["note"]


def test_a_check_that_hangs_is_ended_and_keeps_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "START_S", 0)
    replaced(monkeypatch, 'print(\'row {"name": "x", "value": 1, "unit": "s", "good": null, '
                          '"note": ""}\', flush=True)\nimport time\ntime.sleep(60)')  # fmt: skip
    rows = rows_of(limit=1.5)
    assert [row["name"] for row in rows] == ["x", "ended", "x", "ended"]
    assert "out of time after" in rows[1]["note"] and rows[1]["good"] is False


def test_nan_is_a_bad_verdict_and_a_bar_is_not_judged_in_small(
    capsys: pytest.CaptureFixture[str],
) -> None:
    b = Bench("cpu", tiny=True)
    b.near("x", torch.full((2,), float("nan")), torch.ones(2), 0.1)
    b.bar("y", 1.0, "frames/s", 40)
    x, y = (json.loads(row[4:]) for row in capsys.readouterr().out.splitlines())
    assert x["good"] is False and y["good"] is None
    assert line({"check": "c", **x}).startswith("BAD  c")


def test_without_a_device_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main(["--only", "nothing"])
