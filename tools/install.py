"""Installs Continuum into the environment whose Python runs this file, and says how far it is.

``python tools/install.py [--wheels cpu|cuda] [--extras tts,dev]``. Standard library only.
PyTorch comes first, as the chosen build of the pinned release: the package index has CUDA's for
Linux, PyTorch's own index has the one for CPUs, which is a quarter of its size.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PINS: Final = ROOT / "constraints.txt"
CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
EVERY_S: Final = 3.0
# Kernels of PyTorch's own tests and the programs that run them: 130 MB that nothing imports.
UNUSED: Final = ("torch/test", "torch/bin/test_*", "torch/bin/*Test", "torch/bin/protoc*")
Say = Callable[[str], None]
PIP: Final = ("-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off",
              "--no-compile", "--constraint", str(PINS))  # fmt: skip


class Progress:
    """What pip is doing, from its own lines."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._goal = folder, 0
        self._doing = "asking the package index"

    def line(self, text: str) -> None:
        """Takes one line of pip's output."""
        if found := re.match(r"\s*(Collecting|Downloading|Obtaining) (\S+)(.*)", text):
            name = found[2].rpartition("/")[2]
            self._doing = f"{found[1].lower()} {name}{found[3].split(' (from ')[0].rstrip()}"
        elif text.startswith("Installing collected packages:"):
            self._goal = self._count() + text.count(",") + 1
        elif "metadata" in text or "build" in text:
            self._doing = text.strip().partition(":")[0].lower()

    def shown(self) -> str:
        """In a few words."""
        return f"unpacking: {self._count()} of {self._goal} packages" if self._goal else self._doing

    def _count(self) -> int:
        return sum(1 for _ in self._folder.glob("*.dist-info"))


def run(arguments: Sequence[str], say: Say, folder: Path) -> tuple[int, str]:
    """Runs Python with these arguments; its exit status and its last lines."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    progress, last, begun = Progress(folder), deque[str](maxlen=30), time.monotonic()

    def read() -> None:
        for line in process.stdout or ():
            last.append(line)
            progress.line(line)

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(EVERY_S)
    while reader.is_alive():
        say(f"{time.monotonic() - begun:5.0f} s  {progress.shown()}")
        reader.join(EVERY_S)
    with process:
        return process.wait(), "".join(last)


def torch_choices(wheels: str, release: str, system: str) -> list[list[str]]:
    """Arguments for pip that ask for PyTorch, the next where the one before finds nothing."""
    if system != "Linux":  # one build there
        return [[f"torch=={release}"]]
    if wheels == "cuda":
        return [[f"torch==={release}"]]  # `===` lets no other build of the release pass
    build = f"torch=={release}+cpu"
    return [[build], [build, "--extra-index-url", CPU_INDEX]]


def install(wheels: str, extras: str, say: Say) -> int:
    """PyTorch, then everything else; pip's exit status."""
    folder = Path(sysconfig.get_path("purelib"))
    torch = torch_choices(wheels, pinned("torch"), platform.system())
    package = ["--editable", f"{ROOT}[{extras}]" if extras else str(ROOT)]
    status = first_found(torch, say, folder) or first_found([package], say, folder)
    trim(folder)
    return status


def first_found(choices: Sequence[Sequence[str]], say: Say, folder: Path) -> int:
    """Installs the first choice that the index has; pip's exit status."""
    for choice in choices:
        say(f"installing {' '.join(choice)}")
        status, said = run([*PIP, *choice], say, folder)
        if not status or "No matching distribution" not in said:
            break
    if status:
        say(said)
    return status


def pinned(package: str) -> str:
    """The tested release. Raises ``ValueError`` where there is none."""
    found = re.search(rf"^{package}==(\S+)", PINS.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{PINS} pins no release of {package}")
    return found[1]


def trim(folder: Path) -> None:
    """Removes what nothing here can use from the installed packages."""
    for pattern in UNUSED:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or pip's."""
    parser = argparse.ArgumentParser(description="Installs Continuum into this environment.")
    parser.add_argument("--wheels", choices=("cpu", "cuda"), default="cpu", help="PyTorch's build")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, comma-separated")
    asked = parser.parse_args(argv)
    return install(asked.wheels, asked.extras, lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
