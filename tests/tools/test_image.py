"""The container image: its file names what is there, and what is removed is what nothing reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import image

ROOT = Path(__file__).parents[2]


def test_the_steps_of_the_image_name_files_and_targets_that_exist() -> None:
    steps = re.findall(r"^RUN (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    programs = [word for step in steps for word in step.split() if word.endswith(".py")]
    assert programs == ["tools/image.py", "tools/warm.py"]
    assert all((ROOT / program).is_file() for program in programs)
    assert "RUN make .venv/.serve-cpu\n" in (ROOT / "Dockerfile").read_text()
    assert "$(VENV)/.serve-$(WHEELS):" in (ROOT / "Makefile").read_text()


def test_nothing_that_serving_needs_is_kept_out_of_the_image() -> None:
    left_out = set((ROOT / ".dockerignore").read_text().split())
    needed = {"pipeline", "server", "client", "tools", "Makefile", "pyproject.toml"}
    assert not left_out & (needed | {"constraints.txt", "run_server.py", "README.md", "LICENSE"})


def test_tests_headers_and_pip_go_and_libraries_stay_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    kept = {"torch/lib/libtorch_cpu.so", "torch/__init__.py", "numpy.libs/libopenblas.so"}
    gone = {"torch/include/c10.h", "pip/__init__.py", "scipy/stats/tests/test_a.py"}
    for name in kept | gone:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    stripped: list[str] = []
    monkeypatch.setattr(
        image.subprocess, "run", lambda command, check: stripped.append(command[-1])
    )
    image.slim(tmp_path)
    left = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert left == kept
    assert stripped == [str(site / "torch/lib/libtorch_cpu.so")]
