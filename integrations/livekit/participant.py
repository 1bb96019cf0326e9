"""The avatar as a participant of a LiveKit room: the agent's sound in, picture and sound out.

Wire contract of livekit-agents: byte streams ``lk.audio_stream`` in, one for each segment; RPC
``lk.clear_buffer`` in, ``lk.playback_started`` and ``lk.playback_finished`` out. A picture leaves
when the first of its samples does: the source says how much sound waits before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import av
import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, DataStreamAudioReceiver

from client.avatar import Heard
from client.errors import CallError
from client.live import LiveAvatar, Segment
from client.moments import RATE, Pcm

QUEUE_MS: Final = 200  # of sound before the network, at most
LEAD_S: Final = 0.03  # of it that is kept, made up in silence, so that a late moment leaves no hole
AHEAD: Final = 2  # more moments than that wait only after a stall: silence makes up for it
FRAME_MS: Final = 20  # of the agent's sound
MOMENT_S: Final = 0.04
BITRATE: Final = 2_000_000
ON_BEHALF: Final = "lk.publish_on_behalf"


class AvatarParticipant:
    """One avatar in one room. ``joined`` is set when it is there and visible."""

    def __init__(self, live: LiveAvatar) -> None:
        self.joined = asyncio.Event()
        self._live = live
        self._room = rtc.Room()
        self._gone = asyncio.Event()
        self._segment: Segment | None = None
        self._cut = False  # the end of a segment that was cleared is still to come
        self._clearing: set[asyncio.Task[None]] = set()

    async def run(self, url: str, token: str) -> None:
        """Joins, and stays until the room or the agent is gone. Raises ``CallError``."""
        async with self._live:
            try:
                await self._join(url, token)
                await self._stay()
            finally:
                await self._room.disconnect()

    async def _join(self, url: str, token: str) -> None:
        try:
            await self._room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
        except rtc.ConnectError as failure:
            raise CallError(f"the room cannot be joined: {failure}") from failure
        self._room.on("disconnected", lambda reason: self._gone.set())
        self._room.on("participant_disconnected", self._left)
        first = await anext(aiter(self._live))
        picture = first.picture
        self._audio = rtc.AudioSource(RATE, 1, QUEUE_MS)
        self._video = rtc.VideoSource(picture.width, picture.height)
        await self._publish()
        self.joined.set()

    async def _publish(self) -> None:
        sound = rtc.LocalAudioTrack.create_audio_track("avatar_audio", self._audio)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(sound, options)
        picture = rtc.LocalVideoTrack.create_video_track("avatar_video", self._video)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            simulcast=False,
            video_encoding=rtc.VideoEncoding(max_framerate=25, max_bitrate=BITRATE),
        )
        await self._room.local_participant.publish_track(picture, options)

    @property
    def _agent(self) -> str | None:
        return self._room.local_participant.attributes.get(ON_BEHALF)

    def _left(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._agent:
            self._gone.set()

    async def _stay(self) -> None:
        self._receiver = DataStreamAudioReceiver(
            self._room, sender_identity=self._agent, frame_size_ms=FRAME_MS
        )
        tasks = [
            asyncio.create_task(work) for work in (self._give(), self._read(), self._gone.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._gone.set()
            for task in [*tasks, *self._clearing]:
                task.cancel()
            await asyncio.gather(*tasks, *self._clearing, return_exceptions=True)
            await self._receiver.aclose()
            await self._audio.aclose()
            await self._video.aclose()

    # -- out ---------------------------------------------------------------------------------

    async def _give(self) -> None:
        async for moment in self._live:
            asyncio.get_running_loop().call_later(
                self._audio.queued_duration, self._show, moment.picture
            )
            if moment.pcm.any():
                await self._audio.capture_frame(_sound(moment.pcm))
            elif self._live.waiting <= AHEAD:
                short = self._audio.queued_duration < LEAD_S
                await self._audio.capture_frame(_sound(np.tile(moment.pcm, 1 + short)))

    def _show(self, picture: av.VideoFrame) -> None:
        if not self._gone.is_set():
            self._video.capture_frame(_picture(picture))

    # -- in ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self._receiver.start()
        self._receiver.on("clear_buffer", self._clear)
        async for frame in self._receiver:
            if isinstance(frame, AudioSegmentEnd):
                await self._end()
            else:
                await self._hear(frame)

    async def _hear(self, frame: rtc.AudioFrame) -> None:
        if self._segment is None:
            self._cut = False
            self._segment = self._live.begin(frame.sample_rate)
            self._segment.started.add_done_callback(self._started)
            self._segment.finished.add_done_callback(self._finished)
        samples = bytes(frame.data.cast("b"))
        await self._segment.push(samples if frame.num_channels == 1 else _mono(frame))

    async def _end(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            await segment.end()
        elif not self._cut:  # nothing of it came
            self._receiver.notify_playback_finished(0.0, interrupted=True)
        self._cut = False

    def _clear(self) -> None:
        self._cut, self._segment = self._segment is not None, None
        unheard_s = self._audio.queued_duration
        self._audio.clear_queue()
        task = asyncio.create_task(self._live.interrupt(unheard_s))
        self._clearing.add(task)
        task.add_done_callback(self._cleared)

    def _cleared(self, task: asyncio.Task[None]) -> None:
        self._clearing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._gone.set()  # the server is gone

    def _started(self, started: asyncio.Future[bool]) -> None:
        if started.result():
            self._later(self._audio.queued_duration, self._receiver.notify_playback_started)

    def _finished(self, finished: asyncio.Future[Heard]) -> None:
        failed = finished.cancelled() or finished.exception() is not None
        heard = Heard(0, True, 0) if failed else finished.result()
        waits_s = 0.0 if heard.interrupted else self._audio.queued_duration + MOMENT_S
        position_s = heard.position_ms / 1000
        tell = partial(self._receiver.notify_playback_finished, position_s, heard.interrupted)
        self._later(waits_s, tell)

    def _later(self, delay_s: float, tell: Callable[[], None]) -> None:
        """Tells the agent, when what waits before that has left."""
        if not self._gone.is_set():
            asyncio.get_running_loop().call_later(delay_s, self._tell, tell)

    def _tell(self, tell: Callable[[], None]) -> None:
        if not self._gone.is_set():
            tell()


def _sound(pcm: Pcm) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm))


def _picture(picture: av.VideoFrame) -> rtc.VideoFrame:
    planes = picture.to_ndarray(format="yuv420p").tobytes()
    kind = rtc.VideoBufferType.I420
    return rtc.VideoFrame(picture.width, picture.height, kind, planes)


def _mono(frame: rtc.AudioFrame) -> bytes:
    samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    return bytes(samples.mean(axis=1).astype("<i2").tobytes())
