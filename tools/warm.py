"""Starts the server until it is ready and stops it: kernels and bytecode are compiled then.

For images, whose code cannot be written to later. Exit status 0 where the server became ready.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile


def main() -> int:
    """Runs one start."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--registry", f"{folder}/consents.sqlite", "--keys", f"{folder}/keys.sqlite"]
        command = [sys.executable, "run_server.py", "--port", "0", "--drain-s", "0", *places]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            ready = "Continuum is at" in server.stdout.readline()
            server.send_signal(signal.SIGTERM)
            return server.wait() if ready else 1


if __name__ == "__main__":
    sys.exit(main())
