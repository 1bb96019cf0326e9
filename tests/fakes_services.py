"""OpenAI-compatible services on loopback: a chat that streams, and a recogniser of speech."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import wave
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from server.errors import ChatFailed, RecognitionFailed
from server.speech.answers.chat import Chat
from server.speech.answers.recognition import Recognizer
from server.speech.endpoint import Endpoint


def delta(text: str) -> bytes:
    """An event that adds text."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


@dataclass
class Services:
    """What they answer, and what they were asked. With a ``gate`` a chat waits for it after its
    first piece; ``cut`` ends its connection in the middle."""

    pieces: Sequence[bytes] = ()
    words: str = ""
    status: int = 200
    kind: str = "text/event-stream"
    cut: bool = False
    gate: asyncio.Event | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    heard_s: list[float] = field(default_factory=list)
    gone: int = 0  # chats that were left before their end
    chat: Chat = field(init=False)
    recognizer: Recognizer = field(init=False)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """``/v1/chat/completions``."""
        self.asked.append(await request.json() | {"key": request.headers.get("Authorization")})
        response = web.StreamResponse(status=self.status, headers={"Content-Type": self.kind})
        await response.prepare(request)
        try:
            for piece in self.pieces:
                await response.write(piece)
                if self.gate is not None:
                    await self.gate.wait()
        except (ConnectionError, asyncio.CancelledError):
            self.gone += 1
            raise
        if self.cut and request.transport is not None:
            request.transport.close()
        return response

    async def transcribe(self, request: web.Request) -> web.Response:
        """``/v1/audio/transcriptions``."""
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField) and form["model"] == "whisper"
        with wave.open(io.BytesIO(file.file.read())) as sound:
            assert (sound.getframerate(), sound.getnchannels()) == (16_000, 1)
            self.heard_s.append(sound.getnframes() / 16_000)
        return web.json_response({"text": self.words}, status=self.status)


@contextlib.asynccontextmanager
async def running(services: Services) -> AsyncIterator[Services]:
    """The services, with a client of each, until the block ends."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", services.complete)
    app.router.add_post("/v1/audio/transcriptions", services.transcribe)
    async with TestServer(app, handler_cancellation=True) as server:
        url = str(server.make_url("/v1"))
        services.chat = Chat(Endpoint("chat", url, "k", "small", ChatFailed, silent_s=0.5))
        ears = Endpoint("transcribe", url, "k", "whisper", RecognitionFailed)
        services.recognizer = Recognizer(ears)
        yield services
