"""Outgoing tracks: encoded packets, one short queue for each viewer.

An ``OutgoingTrack`` carries one medium to one peer. Adding to its queue never waits. When it is
full, audio drops its oldest packet; video drops everything and asks for a key frame, because
frames after a gap cannot be decoded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from server.media.encoders import Packet

DEPTH = 5
Media: TypeAlias = "Packet | AudioFrame"


class Room(Protocol):
    """What a peer's path can take."""

    @property
    def bitrate(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def dark(self) -> bool: ...


class OutgoingTrack(MediaStreamTrack):
    """One peer's track of one kind. ``recv`` waits for the clock's next packet, never the model."""

    def __init__(self, kind: str, request_key: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.kind = kind
        self.mime = ""  # of the negotiated codec; empty until it is known
        self.live = False  # somebody has begun to receive
        self.room: Room | None = None  # None until it has begun to send
        self.key = False  # what ``recv`` gave last is a key frame
        self._request_key = request_key
        self._queue: deque[Media] = deque()
        self._filled = asyncio.Event()

    async def recv(self) -> Media:
        """The next packet. Raises ``MediaStreamError`` after ``stop``."""
        if not self.live:
            self.live = True
            self._request_key()
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._filled.clear()
            await self._filled.wait()
        media = self._queue.popleft()
        self.key = isinstance(media, av.Packet) and media.is_keyframe
        return media

    def offer(self, media: Media) -> None:
        """Hands over one packet; drops as the module docstring says when the peer lags."""
        if not self.live or self.readyState != "live":
            return
        if len(self._queue) >= DEPTH:
            self._make_room()
        self._queue.append(media)
        self._filled.set()

    def stop(self) -> None:
        """Ends the track; a waiting ``recv`` raises."""
        super().stop()
        self._queue.clear()
        self._filled.set()

    def _make_room(self) -> None:
        if self.kind == "video":
            self._queue.clear()
            self._request_key()
        else:
            self._queue.popleft()
