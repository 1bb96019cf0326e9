"""The installer: which build of PyTorch, what is shown meanwhile, what is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import install


def test_the_cpu_build_is_looked_for_in_the_index_and_then_at_its_makers() -> None:
    first, second = install.torch_choices("cpu", "2.13.0", "Linux")
    assert first == ["torch==2.13.0+cpu"]
    assert second == ["torch==2.13.0+cpu", "--extra-index-url", install.CPU_INDEX]


def test_cuda_is_the_release_as_the_index_has_it_and_never_the_cpu_build() -> None:
    assert install.torch_choices("cuda", "2.13.0", "Linux") == [["torch===2.13.0"]]


def test_where_there_is_one_build_it_is_taken() -> None:
    assert install.torch_choices("cpu", "2.13.0", "Darwin") == [["torch==2.13.0"]]


def test_progress_follows_the_lines_of_pip(tmp_path: Path) -> None:
    progress = install.Progress(tmp_path)
    progress.line("Collecting aiortc<1.17,>=1.16 (from continuum-avatar==0.1.0)\n")
    assert progress.shown() == "collecting aiortc<1.17,>=1.16"
    progress.line("  Downloading https://index.example/torch-2.13.0.whl (203.1 MB)\n")
    assert progress.shown() == "downloading torch-2.13.0.whl (203.1 MB)"
    (tmp_path / "pip-26.dist-info").mkdir()
    progress.line("Installing collected packages: numpy, torch\n")
    (tmp_path / "numpy-2.dist-info").mkdir()
    assert progress.shown() == "unpacking: 2 of 3 packages"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip was asked for; the index has whatever names an index of its own."""
    asked: list[list[str]] = []

    def run(arguments: list[str], *others: object) -> tuple[int, str]:
        asked.append(arguments[len(install.PIP) :])
        missing = "No matching distribution found for torch"
        return (0, "") if len(asked[-1]) > 1 else (1, missing)

    monkeypatch.setattr(install, "run", run)
    return asked


def test_the_next_choice_is_tried_where_the_index_has_not_the_first(
    pip: list[list[str]], tmp_path: Path
) -> None:
    said: list[str] = []
    choices = install.torch_choices("cpu", "2.13.0", "Linux")
    assert install.first_found(choices, said.append, tmp_path) == 0
    assert pip == choices and len(said) == 2


def test_what_pip_said_last_is_shown_when_nothing_could_be_installed(
    pip: list[list[str]], tmp_path: Path
) -> None:
    said: list[str] = []
    assert install.first_found([["torch"]], said.append, tmp_path) == 1
    assert "No matching distribution" in said[-1]


def test_a_command_that_takes_long_is_never_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "EVERY_S", 0.02)
    said: list[str] = []
    door = tmp_path / "door"
    os.mkfifo(door)

    def say(text: str) -> None:
        said.append(text)
        if text.endswith("collecting av") and door.exists():
            door.write_text("")  # lets the command end
            door.unlink()

    code = f"print('Collecting av', flush=True); open({str(door)!r}).read()"
    assert install.run(["-c", code], say, tmp_path) == (0, "Collecting av\n")
    assert said[-1].endswith("collecting av")


def test_only_what_nothing_imports_is_removed_from_pytorch(tmp_path: Path) -> None:
    for name in ("test/a.bin", "bin/test_api", "bin/torch_shm_manager", "lib/libtorch.so"):
        (tmp_path / "torch" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torch" / name).touch()
    install.trim(tmp_path)
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"torch_shm_manager", "libtorch.so"}
