"""``RealtimeAvatar``: a Realtime API's answers are spoken by an avatar, and cut where it was heard.

    async with Avatar("http://localhost:8080", "mira") as avatar, ClientSession() as http:
        async with http.ws_connect(REALTIME_URL, headers=headers) as socket:
            await RealtimeAvatar(avatar, socket).run()

Source: https://platform.openai.com/docs/api-reference/realtime (GA names; the beta's are taken
too). The API sends faster than real time, so on an interruption it has to be told by
``conversation.item.truncate`` how much was heard: the model then remembers that much.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from aiohttp import ClientWebSocketResponse, WSMsgType

from client.avatar import Avatar, Heard, Pcm
from client.errors import CallError
from client.live import Segment

SAMPLE_RATE: Final = 24_000
DELTA: Final = ("response.output_audio.delta", "response.audio.delta")
DONE: Final = ("response.output_audio.done", "response.audio.done")


@dataclass(slots=True)
class Answer:
    """One audio content part of an item, and how much of it was heard."""

    item_id: str
    content_index: int
    segment: Segment
    sending: asyncio.Task[None] | None = None
    position_ms: int = 0


class RealtimeAvatar:
    """Answers that come over ``socket`` are spoken by ``avatar``. ``on_event`` gets every event of
    the API; ``on_heard`` gets an item's id and ``Heard`` when it ends."""

    def __init__(self, avatar: Avatar, socket: ClientWebSocketResponse) -> None:
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.on_heard: Callable[[str, Heard], None] = lambda item_id, heard: None
        self._avatar, self._socket = avatar, socket
        self._answers: dict[str, Answer] = {}  # that are not heard to their end, by utterance
        self._cut: set[tuple[str, int]] = set()  # what still comes of these is dropped
        self._responding = False
        self._failure: CallError | None = None
        avatar.on_event = self._spoken

    async def run(self) -> None:
        """Speaks until the API closes the connection. Raises ``CallError`` when the avatar is
        gone."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(json.loads(message.data))
        finally:
            await self._stop(list(self._answers.values()))
        if self._failure is not None:
            raise self._failure

    async def hear(self, pcm: Pcm | bytes) -> None:
        """What the person says: 24 kHz, 16 bits, mono."""
        sound = pcm if isinstance(pcm, bytes) else pcm.astype("<i2").tobytes()
        await self._send("input_audio_buffer.append", audio=base64.b64encode(sound).decode())

    async def interrupt(self) -> None:
        """Silence at once; the model remembers what was heard, and no more."""
        if self._responding:
            await self._send("response.cancel")
        await self._hush()

    async def _hush(self) -> None:
        answers = list(self._answers.values())
        self._cut |= {(answer.item_id, answer.content_index) for answer in answers}
        await self._stop(answers)
        await self._avatar.clear()  # positions come before this returns
        for answer in answers:
            await self._send(
                "conversation.item.truncate",
                item_id=answer.item_id,
                content_index=answer.content_index,
                audio_end_ms=answer.position_ms,
            )
        self._answers.clear()

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind in DELTA:
            await self._delta(event)
        elif kind in DONE:
            if (answer := self._answers.get(_name(event))) is not None:
                await answer.segment.end()
        elif kind == "input_audio_buffer.speech_started":
            await self._hush()
        elif kind in ("response.created", "response.done"):
            self._responding = kind == "response.created"
        self.on_event(event)

    async def _delta(self, event: dict[str, Any]) -> None:
        name, part = _name(event), (str(event["item_id"]), int(event["content_index"]))
        if part in self._cut:
            return
        if (answer := self._answers.get(name)) is None:
            answer = self._answers[name] = Answer(*part, Segment(name))
            answer.sending = asyncio.create_task(self._speak(answer))
        try:
            pcm = np.frombuffer(base64.b64decode(event["delta"], validate=True), "<i2")
        except (binascii.Error, ValueError) as failure:
            raise CallError(f"a delta of {name} is no PCM of 16 bits: {failure}") from failure
        await answer.segment.push(pcm.astype(np.int16))

    async def _speak(self, answer: Answer) -> None:
        try:
            spoken = await self._avatar.speak(answer.segment, SAMPLE_RATE, name=answer.segment.id)
            await asyncio.shield(spoken.finished)
        except CallError as failure:
            self._failure = failure
            answer.segment.shut()
            await self._socket.close()

    def _spoken(self, event: dict[str, Any]) -> None:
        """An event of the avatar."""
        answer = self._answers.get(event.get("id", ""))
        if answer is not None and event["type"] == "utterance_finished":
            answer.position_ms = event["position_ms"]
            heard = Heard(event["position_ms"], event["interrupted"], event["media_time"])
            self.on_heard(answer.item_id, heard)
            if not heard.interrupted:
                del self._answers[answer.segment.id]

    async def _stop(self, answers: list[Answer]) -> None:
        tasks = [answer.sending for answer in answers if answer.sending is not None]
        for answer, task in zip(answers, tasks, strict=True):
            answer.segment.shut()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, kind: str, **fields: object) -> None:
        await self._socket.send_str(json.dumps({"type": kind, **fields}))


def _name(event: dict[str, Any]) -> str:
    """The utterance of a content part; ids of utterances have 64 characters at most."""
    return f"{str(event['item_id'])[:56]}.{event['content_index']}"
