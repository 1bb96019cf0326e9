"""``python run_server.py``: arguments to settings to app to serve; nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from server import settings
from server.cluster.backend import Backend
from server.observability import logs


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop; 0 then, 2 when a setting or the port is at fault."""
    try:
        chosen, show = settings.load(argv)
    except settings.SettingsError as failure:
        sys.stderr.write(f"run_server: {failure}\n")
        return 2
    if show:
        sys.stdout.write(chosen.toml())
        return 0
    logs.configure(chosen.log_level, chosen.log_json)
    return _run(chosen)


def _run(chosen: settings.Settings) -> int:
    from server.auth.keys import KeyStoreError
    from server.bootstrap import CannotStart

    try:
        asyncio.run(_serve(chosen))
    except OSError as failure:
        sys.stderr.write(f"run_server: cannot listen on port {chosen.port}: {failure}\n")
        return 2
    except (CannotStart, settings.SettingsError, KeyStoreError) as failure:
        sys.stderr.write(f"run_server: {failure}\n")
        return 2
    return 0


async def _serve(chosen: settings.Settings) -> None:
    from server.api.serve import serve
    from server.bootstrap import open_front, open_server

    async def opening(chosen: settings.Settings) -> Backend:
        if chosen.cluster:
            return await asyncio.to_thread(open_front, chosen)
        return await asyncio.to_thread(open_server, chosen)

    await serve(chosen, opening, _announce)


def _announce(url: str) -> None:
    sys.stdout.write(f"Continuum is at {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
