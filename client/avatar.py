"""An avatar that a program speaks through: sound and text in, and how far each was heard.

    async with Avatar("http://localhost:8080", "mira") as avatar:
        greeting = await avatar.say("Good morning.")
        print((await greeting.finished).position_ms)

Nothing is sent faster than the server has room for (docs/speech.md), so ``clear`` is never held up.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType
from numpy.typing import NDArray

from client.errors import CallError, Refused, Unreachable, refusal

PIECE_S: Final = 0.2  # of sound in one message
LEAST_RATE, MOST_RATE = 8_000, 192_000
Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Heard:
    """How an utterance ended. ``media_time`` counts 16 kHz samples of the session."""

    position_ms: int
    interrupted: bool
    media_time: int
    error: str = ""


class Utterance:
    """Something that was sent. ``started`` and ``finished`` are awaited: ``started`` gives the
    media time, or None where it was never heard; ``finished`` gives ``Heard``, and raises
    ``Refused`` or ``Unreachable`` when the server did not take it."""

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.id = name
        self.started: asyncio.Future[int | None] = loop.create_future()
        self.finished: asyncio.Future[Heard] = loop.create_future()
        self.words: list[dict[str, Any]] = []  # that were heard so far

    def take(self, event: dict[str, Any]) -> None:
        """Something happened to it."""
        if event["type"] == "word":
            self.words.append(event)
        elif event["type"] == "utterance_started" and not self.started.done():
            self.started.set_result(event["media_time"])
        elif event["type"] == "utterance_finished" and not self.finished.done():
            why = str(event.get("error", {}).get("detail", ""))
            how = (event["position_ms"], event["interrupted"], event["media_time"], why)
            self.finished.set_result(Heard(*how))
            self._unheard()

    def fail(self, failure: CallError) -> None:
        """It will not be heard of again."""
        if not self.finished.done():
            self.finished.set_exception(failure)
            self.finished.exception()  # who does not wait for it need not be warned
            self._unheard()

    def _unheard(self) -> None:
        if not self.started.done():
            self.started.set_result(None)


class Avatar:
    """One session and its speech. ``on_event`` gets every event. Raises ``Refused`` or
    ``Unreachable`` when it begins."""

    def __init__(self, url: str, avatar: str, key: str = "", **options: object) -> None:
        self.url = url.rstrip("/")
        self.session: dict[str, Any] = {}  # id, token, and the paths of its doors
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self._asked = {"avatar": avatar, **options}
        self._auth = {"Authorization": f"Bearer {key}"} if key else {}
        self._numbers = itertools.count(1)
        self._utterances: dict[str, Utterance] = {}
        self._until_ms, self._sent_ms = 0.0, 0.0
        self._room = asyncio.Event()
        self._cleared = asyncio.Event()
        self._sending = asyncio.Lock()  # one utterance at a time has the socket for its sound

    async def __aenter__(self) -> Avatar:
        self._http = ClientSession()
        try:
            self.session = await self._made()
            self._auth = {"Authorization": f"Bearer {self.session['token']}"}
            self._socket = await self._connected()
        except BaseException:
            await self._leave()
            raise
        self._reading = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._socket.close()
        await self._leave()

    async def _leave(self) -> None:
        """Ends the session, if there is one: its slot is free at once."""
        try:
            if self.session:
                path = f"{self.url}/v1/sessions/{self.session['id']}"
                async with self._http.delete(path, headers=self._auth):
                    pass
        except (ClientError, OSError):
            pass  # the server has gone first
        finally:
            await self._http.close()

    async def say(self, text: str, style: str = "", voice: str = "") -> Utterance:
        """A text, after what was sent before it."""
        async with self._sending:
            utterance = self._new()
            await self._send("say", id=utterance.id, text=text, style=style, voice=voice)
        return utterance

    async def speak(
        self,
        pcm: Pcm | bytes | AsyncIterable[Pcm | bytes],
        sample_rate: int = 24_000,
        style: str = "",
        name: str = "",
    ) -> Utterance:
        """Sound: 16-bit mono at once, or as it is made; ``name`` is its ``id`` in events. Returns
        when all of it has been sent, or was cleared; long sound waits here until the server has
        room."""
        if not LEAST_RATE <= sample_rate <= MOST_RATE:
            raise ValueError(f"sound has {LEAST_RATE} to {MOST_RATE} Hz, not {sample_rate}")
        async with self._sending:
            utterance = self._new(name)
            await self._send("begin", id=utterance.id, sample_rate=sample_rate, style=style)
            try:
                async for piece in _pieces(pcm):
                    if not await self._sound(utterance, _samples(piece), sample_rate):
                        break
            finally:  # also where the sound fails or is called off: others wait behind it
                await self._send("end")
        return utterance

    async def clear(self) -> None:
        """Silence at once: everything queued and playing ends; returns when it has."""
        self._cleared.clear()
        await self._send("clear")
        await self._cleared.wait()

    async def pause(self) -> None:
        """Silence at once; nothing is lost."""
        await self._send("pause")

    async def resume(self) -> None:
        """Goes on where ``pause`` has stopped."""
        await self._send("resume")

    async def _made(self) -> dict[str, Any]:
        try:
            request = self._http.post(
                f"{self.url}/v1/sessions", json=self._asked, headers=self._auth
            )
            async with request as response:
                if response.status >= 300:
                    again = response.headers.get("Retry-After")
                    raise refusal(response.status, await response.text(), again)
                made: dict[str, Any] = await response.json()
                return made
        except (ClientError, OSError) as failure:
            raise Unreachable(f"nobody answers at {self.url}: {failure}") from failure

    async def _connected(self) -> ClientWebSocketResponse:
        path = f"{self.url}/v1/sessions/{self.session['id']}/speech"
        try:
            return await self._http.ws_connect(path, headers=self._auth, heartbeat=20.0)
        except (ClientError, OSError) as failure:
            raise Unreachable(f"{path} cannot be opened: {failure}") from failure

    def _new(self, name: str = "") -> Utterance:
        utterance = Utterance(name or f"c{next(self._numbers)}")
        self._utterances[utterance.id] = utterance
        return utterance

    async def _sound(self, utterance: Utterance, pcm: Pcm, sample_rate: int) -> bool:
        """Sends as much as there is room for, until all of it is sent; False once it has ended."""
        size = int(PIECE_S * sample_rate)
        for start in range(0, len(pcm), size):
            part = pcm[start : start + size]
            ms = 1000 * len(part) / sample_rate
            while self._sent_ms + ms > self._until_ms and not utterance.finished.done():
                self._room.clear()
                await self._room.wait()
            if utterance.finished.done():
                return False
            self._sent_ms += ms
            await _delivered(self._socket.send_bytes(part.astype("<i2").tobytes()))
        return True

    async def _send(self, kind: str, **fields: object) -> None:
        text = json.dumps({"type": kind, **fields}, ensure_ascii=False)
        await _delivered(self._socket.send_str(text))

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._take(json.loads(message.data))
        finally:
            for utterance in list(self._utterances.values()):
                utterance.fail(Unreachable("the connection ended before this was spoken"))
            self._room.set()
            self._cleared.set()

    def _take(self, event: dict[str, Any]) -> None:
        kind, name = event["type"], event.get("id")
        if kind == "credit":
            self._until_ms = event["until_ms"]
            self._room.set()
        elif kind == "cleared":
            self._cleared.set()
        elif name in self._utterances:
            self._told(self._utterances[name], event)
        self.on_event(event)

    def _told(self, utterance: Utterance, event: dict[str, Any]) -> None:
        if event["type"] == "error":
            utterance.fail(Refused(422, {"type": event["code"], "detail": event["message"]}))
        else:
            utterance.take(event)
        if utterance.finished.done():
            del self._utterances[utterance.id]
            self._room.set()


async def _delivered(sending: Awaitable[None]) -> None:
    try:
        await sending
    except (ClientError, OSError) as failure:
        raise Unreachable(f"the server has gone: {failure}") from failure


async def _pieces(pcm: Pcm | bytes | AsyncIterable[Pcm | bytes]) -> AsyncIterable[Pcm | bytes]:
    if isinstance(pcm, (bytes, np.ndarray)):
        yield pcm
    else:
        async for piece in pcm:
            yield piece


def _samples(piece: Pcm | bytes) -> Pcm:
    return np.frombuffer(piece, "<i2").astype(np.int16) if isinstance(piece, bytes) else piece
