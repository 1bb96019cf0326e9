"""An RTMP publisher: what leaves to viewers, as H.264 and AAC, through a process that sends it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from server.push import rtmp_process
from server.push.push import Broken
from server.recordings.tape import Tape
from server.recordings.tape_writer import TapeWriter
from server.sessions.session import Session

COMMAND: Final = (sys.executable, "-m", rtmp_process.__name__)


@dataclass(slots=True)
class RtmpTarget:
    """Pushes by RTMP to an address whose last part is the stream's key."""

    session: Session
    url: str
    bitrate: int  # at most, bits per second of video

    async def run(self, live: Callable[[], None]) -> None:
        """Sends until the connection ends, and then raises ``Broken``."""
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=reading, stdout=PIPE, stderr=PIPE
        )
        os.close(reading)
        os.write(writing, f"{self.url}\n".encode())
        writer = TapeWriter("push", self._opening(writing))
        self.session.media_sender.taps.add(writer)
        self.session.participants.agent_came()
        try:
            raise Broken(f"the connection ended: {await _ended(process, live)}")
        finally:
            self.session.media_sender.taps.discard(writer)
            self.session.participants.agent_went(self.session.monotonic())
            await asyncio.shield(_close(process, writer, writing))

    def _opening(self, writing: int) -> Callable[[int, int, int], Tape]:
        most = str(self.bitrate)
        options = {"maxrate": most, "bufsize": most}

        def opened(width: int, height: int, at: int) -> Tape:
            return Tape(f"pipe:{writing}", (width, height), at, "flv", options)

        return opened


async def _ended(process: Process, live: Callable[[], None]) -> str:
    """Why the process has ended."""
    assert process.stdout is not None and process.stderr is not None
    if await process.stdout.readline() == rtmp_process.LIVE:
        live()
    why = await process.stderr.read()
    return why.decode("utf-8", "replace").strip() or "the server closed it"


async def _close(process: Process, writer: TapeWriter, writing: int) -> None:
    """The process goes first: what writes to it then fails instead of waiting."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    await asyncio.to_thread(writer.close)
    os.close(writing)
