"""Just enough of Firefox's own remote control (Marionette) to open a page and run scripts in it.

Messages are JSON with their length before them: ``[0, id, command, parameters]`` there,
``[1, id, error, result]`` back (firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PREFERENCES = {
    "media.navigator.permission.disabled": True,  # the person allows the microphone
    "media.navigator.streams.fake": True,  # which hums
    "media.autoplay.default": 0,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.gmp-manager.url": "",
    "network.captive-portal-service.enabled": False,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}


class Firefox:
    """``with Firefox(program, folder) as firefox: firefox.open(url); firefox.run("return 1")``."""

    def __init__(self, program: str, profile: Path) -> None:
        self._program, self._profile = program, profile
        self._number = 0

    def __enter__(self) -> Firefox:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        wanted = {**PREFERENCES, "marionette.port": port}
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in wanted.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [self._program, "--headless", "--marionette", "--no-remote", "--profile",
             str(self._profile), "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._socket = self._reach(port)
        self._read()  # the greeting
        self._ask("WebDriver:NewSession", {})
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)

    def open(self, url: str) -> None:
        """Loads a page."""
        self._ask("WebDriver:Navigate", {"url": url})

    def run(self, script: str) -> Any:
        """The body of a function, run in the page; what it returns."""
        return self._ask("WebDriver:ExecuteScript", {"script": script, "args": []})["value"]

    def until(self, condition: str, timeout_s: float = 60) -> None:
        """Asks until an expression holds."""
        ends = time.monotonic() + timeout_s
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < ends, f"never: {condition}"
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        """A PNG of the page."""
        path.write_bytes(base64.b64decode(self._ask("WebDriver:TakeScreenshot", {})["value"]))

    def _reach(self, port: int) -> socket.socket:
        ends = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=60)
            except OSError:
                assert self._process.poll() is None, "Firefox ended"
                assert time.monotonic() < ends, "Firefox does not listen"
                time.sleep(0.1)

    def _ask(self, command: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self._read()
        assert error is None, f"{command}: {error['message']}"
        return result

    def _read(self) -> Any:
        size = b""
        while (byte := self._socket.recv(1)) != b":":
            assert byte, "Firefox hung up"
            size += byte
        data = b""
        while len(data) < int(size):
            data += self._socket.recv(int(size) - len(data))
        return json.loads(data)
