"""``python -m tests.serve_fake [flags of run_server.py]``: the server with a fake pipeline.

For working on clients without a model. ``TICK_S=0.05`` makes each tick take as long as a real one;
``VOICE=hum`` reads text.
"""

from __future__ import annotations

import asyncio
import os

from server import settings
from server.api.serve import serve
from server.avatars.catalog import Avatars
from server.bootstrap import answers
from server.observability import logs
from server.sessions.session_manager import SessionManager
from tests.fakes_own import FakeOwn
from tests.fakes_server import Behaviour, FakePipeline, FakeSource
from tests.fakes_voice import FakeVoices


async def main() -> None:
    """Serves until interrupted."""
    chosen, _ = settings.load()
    logs.configure(chosen.log_level, chosen.log_json)
    pipeline = FakePipeline(512, Behaviour(float(os.environ.get("TICK_S", "0.05"))))

    async def open_server(chosen: settings.Settings) -> SessionManager:
        source = FakeSource(512)
        manager = SessionManager(chosen, pipeline, Avatars(source, FakeOwn(source)))
        if os.environ.get("VOICE"):
            manager.voices = FakeVoices()
        manager.answers = answers(chosen)
        return manager

    await serve(chosen, open_server, print)


if __name__ == "__main__":
    asyncio.run(main())
