"""Servers in processes of their own, for clients that must not share one with them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENDS_S = 10


@contextlib.contextmanager
def serving(*command: str, timeout_s: float = 90, **environ: str) -> Iterator[str]:
    """Runs a server on a free port until the block ends; yields its URL once it is ready."""
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "CONTINUUM_KEYS": "/nonexistent/keys.sqlite", **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words, "the server ended before it listened"
        url = words[-1].rstrip("/").replace("localhost", "127.0.0.1")
        _until_ready(url, timeout_s)
        yield url
    finally:
        process.terminate()
        process.wait(ENDS_S)
        assert process.stdout is not None
        process.stdout.close()


def _until_ready(url: str, timeout_s: float) -> None:
    ends = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError) as failure:
            if isinstance(failure, urllib.error.HTTPError):
                failure.close()
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="session")
def fake_server() -> Iterator[str]:
    """The server with a fake pipeline: quick to start, cheap to run."""
    flags = ("--slots", "4", "--drain-s", "1")
    with serving("-m", "tests.serve_fake", *flags, TICK_S="0.02", VOICE="hum") as url:
        yield url


@pytest.fixture(scope="session")
def real_server() -> Iterator[str]:
    """``run_server.py`` with the bundled model."""
    with serving("run_server.py", "--drain-s", "1", "--avatars-warm", "default") as url:
        yield url
