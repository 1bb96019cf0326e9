"""A peer that notes what arrives and when, with no jitter buffer between."""

from __future__ import annotations

import asyncio

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
)
from numpy.typing import NDArray

from client.receive import Line, Picture, Sound

LOUD = 500  # of 32768
RATE = 48_000
GAP = RATE // 200  # between two loud samples of one sound


class Peer:
    """``connection`` is to be negotiated by whoever uses it."""

    def __init__(self) -> None:
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self.connection = RTCPeerConnection(configuration)
        self.connection.on("track", self._take)
        self.sounds: list[Sound] = []
        self.pictures: list[Picture] = []
        self.more = asyncio.Event()
        self._lines: list[Line] = []

    def _take(self, track: MediaStreamTrack) -> None:
        transceivers = self.connection.getTransceivers()
        receiver = next(t.receiver for t in transceivers if t.receiver.track is track)
        deliver = self.hear if track.kind == "audio" else self._seen
        self._lines.append(Line(receiver, track.kind, deliver))

    def hear(self, sound: Sound) -> None:
        """A packet of sound has come."""
        self.sounds.append(sound)
        self.more.set()

    def _seen(self, picture: Picture) -> None:
        self.pictures.append(picture)
        self.more.set()

    def forget(self) -> None:
        """What came before does not count."""
        del self.sounds[:], self.pictures[:]

    async def meets(self) -> None:
        """Waits for the first sound and the first picture."""
        while not (self.sounds and self.pictures):
            self.more.clear()
            await self.more.wait()

    async def hears(self, ms: float) -> None:
        """Waits until so much speech came."""
        while self.heard_ms < ms:
            self.more.clear()
            await self.more.wait()

    @property
    def pcm(self) -> NDArray[np.int16]:
        """All sound since it was told to forget."""
        return np.concatenate([np.zeros(0, np.int16), *(sound.pcm for sound in self.sounds)])

    @property
    def heard_ms(self) -> float:
        """How much speech came; silence inside it, where sound was late, is not counted."""
        steps = np.diff(np.flatnonzero(np.abs(self.pcm) > LOUD))
        return 1000 * float(steps[steps < GAP].sum()) / RATE

    @property
    def silent_since_s(self) -> float:
        """When the last loud packet came."""
        return max((s.arrived_s for s in self.sounds if np.abs(s.pcm).max() > LOUD), default=0.0)

    @property
    def heard_since_s(self) -> float:
        """When the first loud packet came."""
        loud = (s.arrived_s for s in self.sounds if np.abs(s.pcm).max() > LOUD)
        return min(loud, default=float("inf"))

    async def close(self) -> None:
        """Ends the connection."""
        await self.connection.close()
        for line in self._lines:
            await asyncio.to_thread(line.close)
