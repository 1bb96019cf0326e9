"""Video services of Pipecat: they stand behind the TTS service, before the transport's output.

``TTSAudioRawFrame`` goes to the avatar. Out come pictures that are shown in step with the sound
(``sync_with_audio``), and the avatar's sound as ``TTSAudioRawFrame`` while it is heard. Between
utterances pictures alone come, so what piled up in the output during a stall is made up there.
``TTSStoppedFrame`` is held back until the avatar has finished.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from client.errors import CallError
from client.live import LiveAvatar, Segment
from client.moments import RATE, Moment
from integrations.in_process import InProcessAvatar, Stream

PIECE_S: Final = 0.04  # of sound in one frame
END_S: Final = 60.0  # that an ``EndFrame`` waits for what is being spoken


@dataclass(slots=True)
class _Speech:
    """One answer of the TTS service on its way through the avatar."""

    segment: Segment
    context_id: str | None
    sample_rate: int
    whole: bool = False
    stops: list[TTSStoppedFrame] = field(default_factory=list)  # held back until it was heard
    heard: bool = False
    given: int = 0  # pieces of sound that went to the output
    plays_since_s: float | None = None  # the output said so; monotonic clock

    def unheard_s(self, now_s: float) -> float:
        """How much of what was given the output will not play. What it has begun to play of a
        piece, it plays to its end."""
        if self.plays_since_s is None:
            return 0.0
        played = min(self.given, ceil((now_s - self.plays_since_s) / PIECE_S))
        return (self.given - played) * PIECE_S

    def takes(self, frame: TTSAudioRawFrame) -> bool:
        """Whether the frame belongs to it."""
        same = (frame.context_id, frame.sample_rate) == (self.context_id, self.sample_rate)
        return same and not self.whole


class Source(Protocol):
    """Speech in, moments out."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *failure: object) -> None: ...
    def __aiter__(self) -> AsyncIterator[Moment]: ...
    def begin(self, sample_rate: int) -> Segment: ...
    async def interrupt(self, unheard_s: float = 0.0) -> None: ...


class AvatarVideoService(AIService):
    """What both services do. The event ``on_speech_finished`` gets ``context_id`` and
    ``client.avatar.Heard``, in which sound that the output transport still held at an interruption
    does not count. Without the avatar an ``ErrorFrame`` goes upstream, and sound passes through
    unchanged.
    """

    def __init__(self, live: Source, **options: Any) -> None:
        super().__init__(settings=ServiceSettings(model=None), **options)
        self._live = live
        self._open = False
        self._failure: CallError | None = None
        self._speeches: list[_Speech] = []
        self._giving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._register_event_handler("on_speech_finished")

    def can_generate_metrics(self) -> bool:
        """Time to first byte: from the first sound that comes to the first that is heard."""
        return True

    # -- life --------------------------------------------------------------------------------

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        """Connects."""
        await super().setup(setup)
        try:
            await self._live.__aenter__()
            self._open = True
        except CallError as failure:
            self._failure = failure

    async def start(self, frame: StartFrame) -> None:
        """Pictures come from now on."""
        await super().start(frame)
        if self._failure is not None:
            await self._fail(self._failure)
        else:
            self._giving = self.create_task(self._give())

    async def stop(self, frame: EndFrame) -> None:
        """What is being spoken is spoken to its end."""
        await super().stop(frame)
        for speech in self._speeches:
            await speech.segment.end()
        waiting = [speech.segment.finished for speech in self._speeches]
        if waiting:
            await asyncio.wait(waiting, timeout=END_S)
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        """Leaves at once."""
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        """Leaves, where nobody has before."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._close()

    async def _close(self) -> None:
        if self._giving is not None:
            giving, self._giving = self._giving, None
            await self.cancel_task(giving)
        if self._open:
            self._open = False
            await self._live.__aexit__()

    async def _fail(self, failure: CallError) -> None:
        self._failure = failure
        await self.push_error(f"the avatar is not there: {failure}", exception=failure)

    # -- in ----------------------------------------------------------------------------------

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes sound and its end; passes everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, BotStartedSpeakingFrame) and (speech := self._speaking) is not None:
            speech.plays_since_s = speech.plays_since_s or time.monotonic()
        if self._failure is not None or direction is FrameDirection.UPSTREAM:
            if isinstance(frame, InterruptionFrame) and self._failure is None:
                self._interrupt()
            await self.push_frame(frame, direction)
        elif isinstance(frame, TTSAudioRawFrame):
            await self._hear(frame)
        elif isinstance(frame, TTSStoppedFrame) and self._speeches:
            self._speeches[-1].stops.append(frame)
            await self._end()
        else:
            if isinstance(frame, InterruptionFrame):
                self._interrupt()
            await self.push_frame(frame, direction)

    async def _hear(self, frame: TTSAudioRawFrame) -> None:
        if not self._speeches or not self._speeches[-1].takes(frame):
            await self._end()
            segment = self._live.begin(frame.sample_rate)
            self._speeches.append(_Speech(segment, frame.context_id, frame.sample_rate))
            await self.start_ttfb_metrics()
        await self._speeches[-1].segment.push(_mono(frame))

    async def _end(self) -> None:
        if self._speeches and not self._speeches[-1].whole:
            self._speeches[-1].whole = True
            await self._speeches[-1].segment.end()

    def _interrupt(self) -> None:
        speaking = self._speaking
        unheard_s = 0.0 if speaking is None else speaking.unheard_s(time.monotonic())
        speeches, self._speeches = self._speeches, []
        task = self.create_task(self._clear(speeches, unheard_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clear(self, speeches: list[_Speech], unheard_s: float) -> None:
        try:
            await self._live.interrupt(unheard_s)
        except CallError as failure:
            await self._fail(failure)
        for speech in speeches:
            await self._told(speech)

    # -- out ---------------------------------------------------------------------------------

    async def _give(self) -> None:
        try:
            async for moment in self._live:
                await self._show(moment)
                await self._finish()
        except CallError as failure:
            await self._fail(failure)

    async def _show(self, moment: Moment) -> None:
        """The picture, then its samples: the output shows it when what came before has played."""
        picture, speaking = moment.picture, self._speaking
        image = picture.to_ndarray(format="rgb24").tobytes()
        shown = OutputImageRawFrame(image, (picture.width, picture.height), "RGB")
        shown.sync_with_audio = True
        await self.push_frame(shown)
        if speaking is not None and not speaking.given:
            await self._sound(speaking, np.zeros_like(moment.pcm))  # a late piece leaves no hole
        if speaking is not None:
            await self._sound(speaking, moment.pcm)

    async def _sound(self, speaking: _Speech, pcm: NDArray[np.int16]) -> None:
        speaking.given += 1
        await self.push_frame(
            TTSAudioRawFrame(pcm.tobytes(), RATE, 1, context_id=speaking.context_id)
        )

    @property
    def _speaking(self) -> _Speech | None:
        """The speech that is heard in the moment that was just given out."""
        for speech in self._speeches:
            if speech.segment.started.done() and speech.segment.started.result():
                return speech
        return None

    async def _finish(self) -> None:
        if (speaking := self._speaking) is not None and not speaking.heard:
            speaking.heard = True
            await self.stop_ttfb_metrics()
        while self._speeches and self._speeches[0].segment.finished.done():
            speech = self._speeches.pop(0)
            for frame in speech.stops:
                await self.push_frame(frame)
            await self._told(speech)

    async def _told(self, speech: _Speech) -> None:
        try:
            heard = await speech.segment.finished
        except CallError as failure:
            await self.push_error(f"an answer was not spoken: {failure}", exception=failure)
        else:
            await self._call_event_handler("on_speech_finished", speech.context_id, heard)


class ContinuumRemoteVideoService(AvatarVideoService):
    """An avatar on a Continuum server, reached by WebSocket and WHEP. ``key`` is an API key."""

    def __init__(self, *, url: str, avatar: str, key: str = "", **options: Any) -> None:
        super().__init__(LiveAvatar(url, avatar, key), **options)


class ContinuumVideoService(AvatarVideoService):
    """An avatar whose model runs in this process; ``stream`` is what ``pipeline.open`` gives."""

    def __init__(self, *, stream: Stream, **options: Any) -> None:
        super().__init__(InProcessAvatar(stream), **options)


def _mono(frame: TTSAudioRawFrame) -> NDArray[np.int16]:
    samples = np.frombuffer(frame.audio, "<i2").reshape(-1, frame.num_channels)
    return samples.mean(axis=1).astype(np.int16) if frame.num_channels > 1 else samples[:, 0]
