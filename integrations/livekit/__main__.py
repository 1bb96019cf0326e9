"""``python -m integrations.livekit --url http://localhost:8080``: avatars for LiveKit rooms."""

from __future__ import annotations

import argparse
from pathlib import Path

from aiohttp import web

from client.caller import read_key
from integrations.livekit.worker import Worker, WorkerOptions


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m integrations.livekit")
    parser.add_argument("--url", default="http://localhost:8080", help="the Continuum server")
    parser.add_argument("--url-key", type=Path, help="file with an API key of that server")
    parser.add_argument("--avatar", default="mira", help="who joins where a launch does not say")
    parser.add_argument("--rooms", type=int, default=4, help="avatars at a time")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--key", type=Path, help="file with the key that launches have to show")
    given = parser.parse_args()
    key = read_key(given.key)
    if given.host not in ("127.0.0.1", "localhost", "::1") and not key:
        parser.error("who may launch? Beyond this computer --key is needed.")
    options = WorkerOptions(given.url, read_key(given.url_key), given.avatar, key, given.rooms)
    web.run_app(Worker(options).app(), host=given.host, port=given.port)


if __name__ == "__main__":
    main()
