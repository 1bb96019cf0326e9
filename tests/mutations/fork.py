"""Runs one test in a tree of its own, in a process that is forked from one that has imported what
is slow to import and not ours: most of a small test's time is that.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

SLOW: Final = (
    "numpy", "torch", "scipy.ndimage", "numba", "cv2", "PIL.Image", "av", "aiohttp.test_utils",
    "aiortc", "sqlalchemy", "alembic.command", "cryptography.x509", "jwt",
)  # fmt: skip
LONGEST_S: Final = 300.0
FAILED: Final = 1  # pytest's status when a test failed; others mean that none was run
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(SLOW))


def run(test: str, tree: Path, longest_s: float = LONGEST_S) -> tuple[int, str]:
    """Status of pytest, and the line that says most. Raises ``TimeoutError``."""
    with tempfile.NamedTemporaryFile("r", errors="replace") as output:
        child = _forks.Process(target=_child, args=(test, str(tree), output.name))
        child.start()
        child.join(longest_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(_pid(child), signal.SIGKILL)  # and whatever its test has started
        child.join()
        lines = output.read().strip().splitlines() or [""]
    status = child.exitcode
    if status == -signal.SIGKILL:
        raise TimeoutError(f"{test} took longer than {longest_s:g} s")
    return status or 0, next((line for line in lines if line.startswith("E  ")), lines[-1])


def _pid(child: multiprocessing.process.BaseProcess) -> int:
    if child.pid is None:
        raise ValueError("the process was not started")
    return child.pid


def _child(test: str, tree: str, output: str) -> None:
    os.setpgid(0, 0)
    os.chdir(tree)
    ours = {path.name for path in Path(tree).iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]  # of the checkout
    sys.path.insert(0, tree)
    os.environ.update(PYTHONPATH=tree, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import pytest

    plugins = ("pytest_asyncio.plugin", "pytest_timeout", "no:cacheprovider")
    named = [word for plugin in plugins for word in ("-p", plugin)]
    sys.exit(int(pytest.main(["-x", "-q", *named, test])))
