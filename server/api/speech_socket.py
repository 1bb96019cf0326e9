"""Speech over a WebSocket: sound and orders in, events and credit out (docs/speech.md)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from server.api.requests import BeginUtterance
from server.api.routes import RouteTable
from server.api.sessions import GRANTED, SESSION, here, own
from server.api.validation import parse
from server.auth.access import May
from server.auth.rate_limit import Bucket
from server.errors import BadRequest, NotInCluster, QueueFull, ServerError, UnknownSession
from server.rtc import data_channel
from server.rtc.data_channel import MAX_ID, Refused, is_text
from server.sessions.commands import code_of, obey
from server.sessions.description import ready
from server.sessions.session import Session
from server.speech.resampling import To48k
from server.speech.utterance import RATE, Mark, Utterance

routes = RouteTable()
PROTOCOL: Final = "continuum.speech"
MAX_SOUND: Final = 256 * 1024  # bytes of a message
MAX_ORDER: Final = 64 * 1024  # bytes: 4000 characters, however they are escaped
MESSAGES: Final = (100.0, 400)  # orders a second, and at once
SOUNDS: Final = (500.0, 500)  # messages of sound; what they hold is paced by credit
UNREAD: Final = 4096  # events that a slow reader may leave before the socket is closed
STEP_MS: Final = 500  # credit is told again when it has grown by so much
ALIVE_S: Final = 60.0
FLUSH_S: Final = 2.0  # for the last events of a session, to whoever reads them
UNREAD_EVENTS: Final[dict[str, Any]] = {
    "code": WSCloseCode.TRY_AGAIN_LATER,
    "message": b"events were not read",
}
log = logging.getLogger(__name__)


@routes(
    "GET",
    SESSION + "/speech",
    May.OWN,
    status=101,
    errors=(BadRequest, UnknownSession, *GRANTED, QueueFull, NotInCluster),
)
async def connect(request: web.Request) -> web.WebSocketResponse:
    """Speak over a WebSocket, and hear what becomes of it."""
    session = own(request)
    await here(request).manager.stands(session)
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,), heartbeat=ALIVE_S, max_msg_size=MAX_SOUND + 1, compress=False
    )
    if not socket.can_prepare(request):
        raise BadRequest("This is a door for WebSockets. POST speech to it, or upgrade.")
    await SpeechSocket(session, socket).serve(request)
    return socket


class SpeechSocket:
    """One connection. What it has begun when it closes ends as it is."""

    def __init__(self, session: Session, socket: web.WebSocketResponse) -> None:
        self._session, self._socket = session, socket
        self._source = session.speech.open()
        self._orders = Bucket(*MESSAGES, time.monotonic())
        self._sounds = Bucket(*SOUNDS, time.monotonic())
        self._outbox: asyncio.Queue[str] = asyncio.Queue(UNREAD)
        self._utterance: Utterance | None = None
        self._convert = To48k(RATE)
        self._asked: object = ""  # the id in the message that is being read
        self._deaf = asyncio.Event()  # events were not read

    async def serve(self, request: web.Request) -> None:
        """Until either side closes it, or the session is over."""
        session = self._session
        try:
            await self._socket.prepare(request)
        except BaseException:
            self._source.close()
            raise
        session.participants.agent_came()
        session.listeners.add(self._tell)
        self._tell(ready(session))
        works = (self._read, session.over.wait, self._deaf.wait, self._send, self._credit)
        helpers: list[asyncio.Task[Any]] = [asyncio.create_task(work()) for work in works]
        try:
            await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
            if session.over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._outbox.join(), FLUSH_S)
        finally:
            session.participants.agent_went(session.monotonic())
            session.listeners.discard(self._tell)
            self._end()
            self._source.close()
            for task in helpers:
                task.cancel()
            for ended in await asyncio.gather(*helpers, return_exceptions=True):
                if isinstance(ended, Exception):
                    log.error("a speech socket failed", exc_info=ended)
            await self._socket.close(**(UNREAD_EVENTS if self._deaf.is_set() else {}))

    def _tell(self, message: str) -> None:
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self._deaf.set()

    async def _send(self) -> None:
        while True:
            message = await self._outbox.get()
            try:
                await self._socket.send_str(message)
            except ConnectionError:
                self._session.listeners.discard(self._tell)
            finally:
                self._outbox.task_done()

    async def _credit(self) -> None:
        """Tells how much may be sent, now and whenever it has grown."""
        speech, told, told_left = self._session.speech, -STEP_MS, 0
        while True:
            until_ms, left = self._source.credit * 1000 // RATE, speech.left
            if until_ms - told >= STEP_MS or (left != told_left and left % 16 == 0):
                told, told_left = until_ms, left
                self._tell(data_channel.build("credit", until_ms=until_ms, utterances=left))
            await speech.moved()

    async def _read(self) -> None:
        async for message in self._socket:
            self._asked = ""
            try:
                if message.type is WSMsgType.BINARY:
                    await _allowed(self._sounds)
                    await self._sound(message.data)
                elif message.type is WSMsgType.TEXT:
                    await _allowed(self._orders)
                    self._order(message.data)
            except Refused as refusal:
                self._refuse(refusal.code, str(refusal))
            except ServerError as refusal:
                self._refuse(code_of(refusal), refusal.detail, refusal.retryable)

    def _refuse(self, code: str, why: str, retryable: bool = False) -> None:
        """An error, with the ``id`` that the message named, if it can be sent back."""
        asked = self._asked if isinstance(self._asked, str) else ""
        named = {"id": asked} if 0 < len(asked) <= MAX_ID and is_text(asked) else {}
        self._tell(data_channel.error(code, why, retryable, **named))

    async def _sound(self, data: bytes) -> None:
        if len(data) % 2:
            raise Refused("bad_message", f"16-bit PCM has whole samples, not {len(data)} bytes")
        pcm = self._convert(np.frombuffer(data, "<i2").astype(np.int16))
        if self._utterance is None:
            self._source.sent += len(pcm)  # gone, and counted: credit goes on
            raise Refused("no_utterance", "begin an utterance before its sound")
        await self._source.write(self._utterance, pcm)

    def _order(self, text: str) -> None:
        fields = data_channel.parse_object(text, MAX_ORDER)
        kind, self._asked = fields.get("type"), fields.get("id", "")
        if kind == "begin":
            self._end()
            self._begin(fields)
        elif kind == "end":
            self._end()
        else:
            obey(self._session, data_channel.command(fields, "begin, end, "), self._tell)

    def _begin(self, fields: dict[str, Any]) -> None:
        asked = parse(BeginUtterance, {k: v for k, v in fields.items() if k != "type"})
        cues = [Mark(cue.at_ms * RATE // 1000, "cue", {"name": cue.name}) for cue in asked.cues]
        self._convert = To48k(asked.sample_rate)
        self._utterance = self._source.begin(asked.id, asked.style, cues)
        self._tell(data_channel.build("utterance_accepted", id=self._utterance.id))

    def _end(self) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is not None:
            rest = self._convert.flush()
            self._source.sent += len(rest)
            utterance.write(rest)
            utterance.end()


async def _allowed(bucket: Bucket) -> None:
    """Waits until the sender may go on."""
    seconds = bucket.take(time.monotonic())
    await asyncio.sleep(seconds)  # also 0: messages that are here already leave turns to others
    if seconds > 0:
        bucket.spend()
