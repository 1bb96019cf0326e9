"""Targets over HTTP: a server with a fake model behind them, in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.fuzz.inputs import (
    BODIES,
    FORM,
    FRAGMENT,
    HEADERS,
    LINES,
    OFFER,
    SDP,
    TRICKLE,
    WORDS,
    form_bodies,
    whole_requests,
)  # fmt: skip
from benchmarks.fuzz.targets import Target

PATIENCE_S: Final = 0.5  # for the rest of a request that never comes


class ServerTarget(Target):
    """A path of a server that runs in a process of its own."""

    flags: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        weight: int,
        seeds: Sequence[bytes],
        path: str,
        media_type: str,
        tokens: Sequence[bytes] = WORDS,
        method: str = "POST",
    ) -> None:
        super().__init__(name, weight, seeds, lambda data: "", tokens)
        self._path, self._type, self._method = path, media_type, method
        self._token = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        nowhere = str(Path(tempfile.gettempdir()) / f"none-{secrets.token_hex(4)}.sqlite")
        flags = ["--port", "0", "--slots", "50", "--grace-s", "3600", "--drain-s", "0"]
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve_fake", *flags, *self.flags, "--log-level", "error"],
            env={**os.environ, "CONTINUUM_KEYS": nowhere, "TICK_S": "0"},
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rsplit(":", 1)[1].strip(" /\n"))
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while self._ask("GET", "/readyz", b"", "")[0] != 200:
            pass
        if "{session}" in self._path:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def complaints(self) -> list[str]:
        self._said.seek(0)
        return self._said.read().split("Traceback (most recent call last):")[1:]

    def _begin(self) -> None:
        _, headers, _ = self._ask("POST", "/v1/calls?avatar=mira", OFFER.encode(), SDP)
        session = headers["Location"].rsplit("/", 1)[1]
        self._path = self._path.replace("{session}", session)
        self._token = headers["Session-Token"]

    def feed(self, data: bytes) -> str:
        """One request; a session that it began is ended."""
        status, headers, body = self._ask(self._method, self._path, data, self._type)
        if status == 201:
            token = headers.get("Session-Token") or json.loads(body)["token"]
            self._ask("DELETE", headers["Location"], b"", "", token)
        return "taken" if status < 400 else str(status)

    def _ask(
        self, method: str, path: str, body: bytes, media_type: str, token: str = ""
    ) -> tuple[int, Any, bytes]:
        headers = {"Content-Type": media_type} if media_type else {}
        if shown := token or self._token:
            headers["Authorization"] = f"Bearer {shown}"
        self._http.request(method, path, body, headers)
        response = self._http.getresponse()
        return response.status, response.headers, response.read()


class RawTarget(ServerTarget):
    """Whole requests as bytes: methods, paths, queries and headers, too."""

    def feed(self, data: bytes) -> str:
        """One connection; the first line of the answer counts."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as raw:
            try:
                raw.sendall(data)
                raw.settimeout(PATIENCE_S)
                answer = raw.recv(64)
            except TimeoutError:
                return "unfinished"
            except ConnectionError:
                return "closed"
        status = answer[9:12].decode("ascii", "replace")
        return "taken" if status < "400" and status else status or "closed"


TARGETS: Final[list[Target]] = [
    ServerTarget("calls", 4, [OFFER.encode()], "/v1/calls?avatar=mira", SDP, LINES),
    ServerTarget(
        "trickle", 5, [TRICKLE.encode()], "/v1/sessions/{session}", FRAGMENT, LINES, "PATCH"
    ),
    ServerTarget("sessions", 5, BODIES, "/v1/sessions", "application/json"),
    ServerTarget(
        "forms", 3, form_bodies(), "/v1/enrolments/preview", FORM, [*WORDS, b"--x", b"--x--"]
    ),
    RawTarget("requests", 7, whole_requests(), "", "", HEADERS),
]
