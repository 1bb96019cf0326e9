"""The process as an operator meets it: flags, signals, exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tests.e2e.conftest import ROOT


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "run_server.py", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_print_config_shows_settings_and_stops() -> None:
    shown = run("--print-config", "--port", "1234")
    assert shown.returncode == 0 and "port = 1234" in shown.stdout and not shown.stderr


def test_a_wrong_setting_is_one_line_and_status_2() -> None:
    refused = run("--port", "99999")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "99999" in refused.stderr and "Traceback" not in refused.stderr


@contextlib.contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server with a fake model, and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serve_fake", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        yield process, process.stdout.readline().split()[-1]


def test_a_server_that_was_told_to_stop_exits_with_0() -> None:
    with serving() as (process, url):
        assert url.startswith("http://")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_more_signals_than_needed_end_it_in_order_all_the_same() -> None:
    with serving() as (process, url):
        _wait_until_ready(url)
        body = json.dumps({"avatar": "mira"}).encode()
        asked = urllib.request.Request(
            f"{url}v1/sessions", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(asked, timeout=10).close()  # somebody to drain for
        while process.poll() is None:  # to the very end of the interpreter
            process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        assert process.returncode == 0


def _wait_until_ready(url: str) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            return urllib.request.urlopen(f"{url}readyz", timeout=5).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
            assert time.monotonic() < ends
            time.sleep(0.05)
