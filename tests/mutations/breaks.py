"""The lists of breaks, and one break applied to a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tests.mutations.fork import FAILED, run

ROOT: Final = Path(__file__).parents[2]
LISTS: Final = Path(__file__).parent


class Outcome(Enum):
    """What became of a break."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    STALE = "stale"  # the text is not there exactly once, or the test could not be run


@dataclass(frozen=True, slots=True)
class Break:
    """``old`` becomes ``new`` in ``file``, and ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
    mechanism: str = ""
    fast: bool = False

    def found(self, root: Path = ROOT) -> int:
        """How often the text is there."""
        path = root / self.file
        return path.read_text("utf-8").count(self.old) if path.is_file() else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a break went, and what the test said."""

    outcome: Outcome
    said: str
    seconds: float = 0.0


def load() -> list[Break]:
    """Every list, in order."""
    files = sorted(LISTS.glob("*.toml"))
    return [
        Break(**row) for file in files for row in tomllib.loads(file.read_text("utf-8"))["break"]
    ]


def copy(into: Path, root: Path = ROOT) -> Path:
    """The tree as it lies there, changes included, without what git ignores."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=root, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        if name and (root / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, into / name)
    return into


def attempt(break_: Break, tree: Path) -> Verdict:
    """Applies a break to a copy of the tree, runs its test there, and takes it back."""
    if (found := break_.found(tree)) != 1:
        return Verdict(Outcome.STALE, f"{break_.file} has its text {found} times")
    began = time.monotonic()
    with _applied(break_, tree):
        try:
            status, said = run(break_.test, tree)
        except TimeoutError:
            return Verdict(Outcome.SURVIVED, "its test came to no end", time.monotonic() - began)
    outcome = {0: Outcome.SURVIVED, FAILED: Outcome.CAUGHT}.get(status, Outcome.STALE)
    return Verdict(outcome, said, time.monotonic() - began)


@contextmanager
def _applied(break_: Break, tree: Path) -> Iterator[None]:
    """Back to the text and to its time, by which Python knows what it has compiled."""
    path = tree / break_.file
    whole, state = path.read_text("utf-8"), path.stat()
    path.write_text(whole.replace(break_.old, break_.new), "utf-8")
    try:
        yield
    finally:
        path.write_text(whole, "utf-8")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
