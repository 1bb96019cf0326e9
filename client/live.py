"""An avatar for a program that has a transport of its own: speech in, moments out.

    async with LiveAvatar("http://localhost:8080", "mira") as live:
        segment = live.begin(24_000)
        await segment.push(pcm)
        segment.end()
        async for moment in live:
            show(moment.picture, moment.pcm)

A moment is a picture and its samples (``client/moments.py``). ``started`` and ``finished`` of a
segment are told when that part has been given out, so positions are those of this program's output.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import av
import numpy as np

from client.avatar import Avatar, Heard, Pcm
from client.errors import CallError, Refused, Unreachable
from client.moments import Moment, Moments
from client.viewer import Viewer

WAITING: Final = 64  # pieces of one segment that are not sent yet
TAIL_S: Final = 0.03  # after a cut: the server fades out, and Opus smears that into a packet
BEHIND: Final = 25  # moments that nobody has taken; then the oldest is dropped


class Segment:
    """Speech that is sent as it is made. ``started`` becomes True when it is heard, or False where
    it never will be; ``finished`` gives ``Heard``, or raises ``CallError``."""

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.id = name
        self.started: asyncio.Future[bool] = loop.create_future()
        self.finished: asyncio.Future[Heard] = loop.create_future()
        self.sending: asyncio.Task[None] | None = None
        self._pieces: asyncio.Queue[Pcm | bytes | None] = asyncio.Queue(WAITING)
        self._over = False

    async def push(self, pcm: Pcm | bytes) -> None:
        """More sound: 16 bits, mono. Waits while much of it is unsent; after the end it is
        ignored."""
        if not self._over:
            await self._pieces.put(pcm)

    async def end(self) -> None:
        """All of it is here."""
        if not self._over:
            self._over = True
            await self._pieces.put(None)

    async def __aiter__(self) -> AsyncIterator[Pcm | bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def shut(self) -> None:
        """Nothing more of it is taken."""
        self._over = True
        while not self._pieces.empty():
            self._pieces.get_nowait()

    def start(self) -> None:
        """It begins to be heard."""
        if not self.started.done():
            self.started.set_result(True)

    def finish(self, how: Heard | CallError) -> None:
        """It was heard, or will not be."""
        if not self.started.done():
            self.started.set_result(False)
        if self.finished.done():
            return
        if isinstance(how, Heard):
            self.finished.set_result(how)
        else:
            self.finished.set_exception(how)
            self.finished.exception()  # who does not wait for it need not be warned


class LiveAvatar:
    """A session, its speech and its picture. Raises ``Refused`` or ``Unreachable`` when it begins,
    and ``Unreachable`` from the iteration when the connection is gone."""

    def __init__(self, url: str, avatar: str, key: str = "", fps: float = 25.0) -> None:
        self.avatar = Avatar(url, avatar, key, listen=True)
        self.avatar.on_event = self._event
        self.size = (0, 0)  # of the first picture
        self.dropped = 0  # moments that nobody took in time
        self._moments = Moments(fps)
        self._given: deque[Moment] = deque()
        self._more = asyncio.Event()
        self._numbers = itertools.count(1)
        self._segments: dict[str, Segment] = {}
        self._due: list[tuple[float, Callable[[], None]]] = []  # told when that is given out
        self._clears = 0  # orders that were not answered yet
        self._cut: float | None = None
        self._order = asyncio.Lock()  # of an interrupt and what follows it

    async def __aenter__(self) -> LiveAvatar:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.avatar)
            session = self.avatar.session
            viewer = Viewer(self.avatar.url, session["whep"], session["token"])
            viewer.on_picture, viewer.on_sound = self._picture, self._sound
            self._viewer = await stack.enter_async_context(viewer)
            self._watching = asyncio.create_task(self._watch())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._watching.cancel()
        await _stopped([self._watching, *(each.sending for each in self._segments.values())])
        await self._stack.aclose()
        self._fail(Unreachable("the session was left before this was spoken"))

    async def __aiter__(self) -> AsyncIterator[Moment]:
        while True:
            while self._given:
                yield self._taken()
            if self._viewer.ended.is_set():
                raise Unreachable("the connection to the avatar is gone")
            self._more.clear()
            await self._more.wait()

    @property
    def waiting(self) -> int:
        """Moments that nobody has taken yet."""
        return len(self._given)

    def begin(self, sample_rate: int, style: str = "") -> Segment:
        """Speech that follows what was begun before it."""
        segment = Segment(f"segment-{next(self._numbers)}")
        self._segments[segment.id] = segment
        segment.sending = asyncio.create_task(self._send(segment, sample_rate, style))
        return segment

    async def interrupt(self, unheard_s: float = 0.0) -> None:
        """Silence from the next moment on; every segment ends. ``unheard_s`` of what was given out
        will not be heard either, and counts in no position. Returns when the server is silent;
        what is begun meanwhile is spoken."""
        cut = self._moments.hush()
        self._cut = (self._given[0].sent_at if self._given else cut) - unheard_s
        self._clears += 1
        self._given = deque(
            replace(moment, pcm=np.zeros_like(moment.pcm)) for moment in self._given
        )
        segments = list(self._segments.values())
        for segment in segments:
            segment.shut()
        async with self._order:
            await _stopped(segment.sending for segment in segments)
            await self.avatar.clear()
        for segment in segments:  # of which the server had not heard
            self._ended(segment, Heard(0, True, 0))

    async def _send(self, segment: Segment, sample_rate: int, style: str) -> None:
        try:
            async with self._order:
                pass  # an interrupt that came before this is sent first
            await self.avatar.speak(segment, sample_rate, style, name=segment.id)
        except CallError as failure:
            self._ended(segment, failure)

    async def _watch(self) -> None:
        await self._viewer.ended.wait()
        self._fail(Unreachable("the connection to the avatar is gone"))
        self._more.set()

    def _fail(self, why: CallError) -> None:
        for segment in list(self._segments.values()):
            self._ended(segment, why)

    def _picture(self, sent_at: float, picture: av.VideoFrame) -> None:
        self.size = self.size if any(self.size) else (picture.width, picture.height)
        self._moments.picture(sent_at, picture)
        self._give()

    def _sound(self, sent_at: float, pcm: Pcm) -> None:
        self._moments.sound(sent_at, pcm)
        self._give()

    def _give(self) -> None:
        for moment in self._moments.ready():
            if len(self._given) >= BEHIND:
                self._taken()
                self.dropped += 1
            self._given.append(moment)
        self._more.set()

    def _taken(self) -> Moment:
        """The next moment is given out: tells what begins and ends in it."""
        moment = self._given.popleft()
        due = [tell for at, tell in self._due if at <= moment.ends_at]
        self._due = [(at, tell) for at, tell in self._due if at > moment.ends_at]
        for tell in due:
            tell()
        return moment

    def _event(self, event: dict[str, Any]) -> None:
        if event["type"] == "cleared" and self._clears:
            self._clears -= 1
            if not self._clears:
                self._moments.speak_from(event["sent_at"] + TAIL_S)
        elif (segment := self._segments.get(event.get("id", ""))) is None:
            return
        elif event["type"] == "utterance_started":
            self._due.append((event["sent_at"], segment.start))
        elif event["type"] == "utterance_finished":
            self._over(segment, event)
        elif event["type"] == "error":
            problem = {"type": event["code"], "detail": event["message"]}
            self._ended(segment, Refused(422, problem))

    def _over(self, segment: Segment, event: dict[str, Any]) -> None:
        why = str(event.get("error", {}).get("detail", ""))
        how = Heard(event["position_ms"], event["interrupted"], event["media_time"], why)
        if how.interrupted and self._clears and self._cut is not None:
            late_ms = max(0, round(1000 * (event["sent_at"] - self._cut)))
            self._ended(segment, replace(how, position_ms=max(0, how.position_ms - late_ms)))
        else:
            self._due.append((event["sent_at"], lambda: self._ended(segment, how)))

    def _ended(self, segment: Segment, how: Heard | CallError) -> None:
        segment.finish(how)
        self._segments.pop(segment.id, None)


async def _stopped(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
