"""The stage: sends a session's sound and pictures to everyone who watches, on time.

Two loops, driven by the session's clock and by nothing else: sound every 20 ms, pictures when they
are due. Encoding runs on the media executor, once for all viewers of one codec.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from fractions import Fraction
from typing import Any, Protocol, cast

import av
import numpy as np
from numpy.typing import NDArray

from server.background.tasks import Work
from server.media.clock import RATE, SessionClock
from server.media.encoders import (
    AUDIO_CLOCK,
    VIDEO_CLOCK,
    AudioEncoder,
    Bitrates,
    Converter,
    Packet,
    VideoEncoder,
    sound,
)
from server.media.key_frames import KeyFrames
from server.media.playout import BLOCK, RATIO_48K_16K, Playout
from server.media.rungs import BitratePolicy, Shape, shape, shared, voice
from server.media.tracks import OutgoingTrack

OPUS = "audio/opus"
BEHIND = 5  # blocks of sound; a loop held up for longer does not send them all at once


class EncodedFeed:
    """Everyone who watches one codec of one session, and the encoder that serves them."""

    def __init__(self, mime: str, bitrates: Bitrates, rate: Fraction) -> None:
        self.tracks: set[OutgoingTrack] = set()
        self.policy = BitratePolicy(bitrates)
        self.encoder = VideoEncoder(mime, self.policy.target, rate)
        self.keys = KeyFrames()
        self._rate = rate
        self._convert = Converter()
        self._sent: deque[int] = deque(maxlen=round(2 * rate))

    @property
    def bitrate(self) -> int:
        """Bits per second truly sent over the last two seconds."""
        return int(sum(self._sent) * 8 * self._rate / max(1, len(self._sent)))

    def request_key(self) -> None:
        """The next picture shall be decodable on its own."""
        self.keys.request()

    def shape(self, picture: av.VideoFrame, index: int, now_s: float) -> Shape | None:
        """How frame ``index`` is made for those who watch; None when it is left out."""
        rooms = [track.room for track in self.tracks if track.live and track.room is not None]
        lit = [room for room in rooms if not room.dark] or rooms
        if lit:
            available = shared([room.bitrate for room in lit])
            self.encoder.bitrate = self.policy.follow(available, now_s)
            kept_up = [room for room in lit if room.bitrate >= available]
            if any(room.full for room in kept_up):
                return None
        found = shape(self.encoder.bitrate, picture.width, picture.height, self._rate)
        return found if found.shows(index) else None

    def left_out(self) -> None:
        """A frame is not shown."""
        self._sent.append(0)

    def encode(
        self, picture: av.VideoFrame, timestamp: int, scale: float, now_s: float
    ) -> Packet | None:
        """One packet; runs on the media executor."""
        smaller = self._convert.scaled(picture, scale) if scale < 1.0 else picture
        packet = self.encoder.encode(smaller, timestamp, self.keys.take(now_s))
        if packet is not None and packet.is_keyframe:
            self.keys.made(now_s)
        self._sent.append(packet.size if packet else 0)
        return packet


class Tap(Protocol):
    """Takes what leaves, without waiting; positions are those of the session's clock."""

    def picture(self, at: int, picture: av.VideoFrame) -> None: ...
    def sound(self, at: int, pcm: NDArray[np.int16]) -> None: ...


class MediaSender:
    """One session's outgoing media."""

    def __init__(
        self,
        clock: SessionClock,
        playout: Playout,
        executor: Executor,
        bitrates: Bitrates,
        on_playing: Callable[[int, bool], None],
    ) -> None:
        self.clock, self.playout = clock, playout
        self._executor = executor
        self._bitrates = bitrates
        self._on_playing = on_playing  # media time that leaves now, whether its frame is new
        self._casts: dict[str, EncodedFeed] = {}
        self._listeners: set[OutgoingTrack] = set()
        self._voice = AudioEncoder()
        self.speaking: Callable[[], bool] = lambda: False
        self.frames = self.repeats = self.missed = 0
        self.encode_s = 0.0
        self.sent = 0  # the 48 kHz position up to which sound has been taken to be sent
        self.on_encoded: Callable[[float], None] = lambda seconds: None
        self.taps: set[Tap] = set()  # recordings and pushes of what leaves

    def audio_track(self) -> OutgoingTrack:
        """A new listener."""
        track = OutgoingTrack("audio")
        self._listeners.add(track)
        return track

    def video_track(self, mime: str) -> OutgoingTrack:
        """A new viewer of a codec."""
        feed = self._casts.get(mime) or EncodedFeed(mime, self._bitrates, self.playout.timing.fps)
        self._casts[mime] = feed
        track = OutgoingTrack("video", feed.request_key)
        track.mime = mime
        feed.tracks.add(track)
        return track

    def cast_of(self, mime: str) -> EncodedFeed:
        """Those who watch ``mime``."""
        return self._casts[mime]

    def leave(self, track: OutgoingTrack) -> None:
        """A listener or viewer has gone."""
        track.stop()
        self._listeners.discard(track)
        for mime, feed in list(self._casts.items()):
            feed.tracks.discard(track)
            if not feed.tracks:
                del self._casts[mime]

    @property
    def bitrate(self) -> int:
        """Bits per second of video, over all codecs."""
        return sum(feed.bitrate for feed in self._casts.values())

    def loops(self) -> list[tuple[str, Work]]:
        """What the session runs, by name."""
        return [("sound", self._sound), ("pictures", self._pictures)]

    async def _sound(self) -> None:
        at = self.clock.now() // BLOCK * BLOCK
        while True:
            at = max(at + BLOCK, self.clock.now() // BLOCK * BLOCK - BEHIND * BLOCK)
            await asyncio.sleep(self.clock.until(at))
            grew = self.playout.move(at, self.speaking())
            await self._send_sound(at, grew)

    async def _send_sound(self, at: int, grew: int) -> None:
        for tap in list(self.taps):
            tap.sound(at, self.playout.audio(at, grew))
        timestamp = at * AUDIO_CLOCK // RATE
        opus = [track for track in self._listeners if track.live and track.mime == OPUS]
        if opus:
            self._fit_voice(opus)
            early = self._take(at, grew, self._voice.lead)
            packet = await self._run(self._voice.encode, early, timestamp)
            for track in opus if packet else ():
                track.offer(packet)
        for track in self._listeners.difference(opus):
            track.offer(sound(self._take(at, grew), timestamp))

    def _take(self, at: int, grew: int, ahead: int = 0) -> NDArray[np.int16]:
        """The block that leaves at ``at``; what it holds can no longer be taken back."""
        block = self.playout.audio(at, grew, ahead)
        end = self.playout.playing(at) * RATIO_48K_16K + ahead + len(block)
        self.sent = max(self.sent, end)
        return block

    def _fit_voice(self, listeners: Sequence[OutgoingTrack]) -> None:
        rooms = [track.room for track in listeners if track.room is not None]
        if lit := [room.bitrate for room in rooms if not room.dark]:
            self._voice.bitrate = voice(shared(lit), self._voice.bitrate)

    async def _pictures(self) -> None:
        index = -1
        while True:
            latest = self.playout.index_at(self.clock.now())
            self.missed += max(0, latest - index - 1) if index >= 0 else 0
            index = max(index + 1, latest)
            await asyncio.sleep(self.clock.until(self.playout.due(index)))
            await self._show(index)

    async def _show(self, index: int) -> None:
        shot, new = self.playout.frame(index)
        self._on_playing(index * self.playout.timing.frame, new)
        if shot is None:
            return
        self.frames += 1
        self.repeats += not new
        for tap in list(self.taps):
            tap.picture(self.playout.due(index), cast(av.VideoFrame, shot.picture))
        timestamp = self.playout.due(index) * VIDEO_CLOCK // RATE
        started = time.perf_counter()
        for feed in list(self._casts.values()):
            await self._send(feed, cast(av.VideoFrame, shot.picture), index, timestamp)
        took = time.perf_counter() - started
        self.encode_s += (took - self.encode_s) / 16
        if self._casts:
            self.on_encoded(took)

    async def _send(
        self, feed: EncodedFeed, picture: av.VideoFrame, index: int, timestamp: int
    ) -> None:
        now_s = time.monotonic()
        live = [track for track in feed.tracks if track.live]
        made = feed.shape(picture, index, now_s) if live else None
        if made is None:
            feed.left_out()
            return
        packet = await self._run(feed.encode, picture, timestamp, made.scale, now_s)
        for track in live if packet else ():
            track.offer(packet)

    async def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, function, *arguments
        )
