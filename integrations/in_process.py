"""An avatar whose model runs in this process: the same surface as ``client.live.LiveAvatar``.

Each tick of the frame rate gives one moment: the next frame of the stream, and the samples that
made it. Speech is taken only as frames are needed, so what waits is what the model has to hear
ahead. Generation runs in one thread; the caller's loop only waits.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from client.avatar import Heard, Pcm
from client.errors import CallError
from client.live import Segment
from client.moments import RATE, Moment

SPEECH_RATE: Final = 16_000  # what models hear
BEHIND_S: Final = 0.5  # later than that, and the clock begins anew


class Frame(Protocol):
    """A frame of the stream: (H, W, 3) uint8, and which one it is."""

    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def index(self) -> int: ...


class Stream(Protocol):
    """What is used of ``pipeline.interface.AvatarStream``."""

    @property
    def samples_per_frame(self) -> int: ...
    def push(self, pcm: NDArray[np.float32]) -> None: ...
    def step(self) -> Iterator[Any]: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class _Converter:
    """Sound at one rate becomes sound at another, in pieces."""

    def __init__(self, rate: int, to: int) -> None:
        self._rate = rate
        self._convert = av.AudioResampler("s16", "mono", to)

    def __call__(self, pcm: Pcm | None) -> Pcm:
        """``None`` gives what is left."""
        frame = None
        if pcm is not None:
            frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
            frame.sample_rate = self._rate
        parts = [part.to_ndarray()[0] for part in self._convert.resample(frame)]
        return np.concatenate([np.zeros(0, np.int16), *parts])


class _Speech:
    """One segment on its way: what came of it, what was given out."""

    def __init__(self, segment: Segment, rate: int) -> None:
        self.segment = segment
        self.pcm = np.zeros(0, np.int16)  # 48 kHz, not on the timeline yet
        self.placed = self.given = 0  # samples
        self.whole = False
        self.reading: asyncio.Task[None] | None = None
        self._convert = _Converter(rate, RATE)

    async def read(self) -> None:
        """Takes what is pushed, as it comes."""
        async for piece in self.segment:
            pcm = np.frombuffer(piece, "<i2") if isinstance(piece, bytes) else piece
            self.pcm = np.concatenate([self.pcm, self._convert(pcm.astype(np.int16))])
        self.pcm = np.concatenate([self.pcm, self._convert(None)])
        self.whole = True


Block: TypeAlias = tuple[Pcm, list[tuple[_Speech, int]]]


class InProcessAvatar:
    """Speech in, moments out. ``stream`` is open, and closed at the end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._size = stream.samples_per_frame * RATE // SPEECH_RATE
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="avatar")
        self._numbers = itertools.count(1)
        self._speeches: list[_Speech] = []
        self._blocks: deque[Block] = deque()  # of frames to come
        self._made: deque[Frame] = deque()
        self._narrow = _Converter(RATE, SPEECH_RATE)
        self._heard = np.zeros(SPEECH_RATE // 500, np.int16)  # the converter is late by less
        self._index = 0  # of the first block that waits

    async def __aenter__(self) -> InProcessAvatar:
        return self

    async def __aexit__(self, *failure: object) -> None:
        for speech in self._speeches:
            if speech.reading is not None:
                speech.reading.cancel()
            speech.segment.finish(CallError("the avatar was left before this was spoken"))
        await asyncio.to_thread(self._thread.shutdown)
        self._stream.close()

    def begin(self, sample_rate: int) -> Segment:
        """Speech that follows what was begun before it."""
        speech = _Speech(Segment(f"segment-{next(self._numbers)}"), sample_rate)
        speech.reading = asyncio.create_task(speech.read())
        self._speeches.append(speech)
        return speech.segment

    async def interrupt(self, unheard_s: float = 0.0) -> None:
        """Silence from the next moment on; every segment ends."""
        speeches, self._speeches = self._speeches, []
        self._blocks = deque((np.zeros_like(pcm), []) for pcm, _ in self._blocks)
        for speech in speeches:
            speech.segment.shut()
            if speech.reading is not None:
                speech.reading.cancel()
            heard_s = max(0.0, speech.given / RATE - unheard_s)
            speech.segment.finish(Heard(round(1000 * heard_s), True, 0))
        await self._run(self._stream.interrupt)

    async def __aiter__(self) -> AsyncIterator[Moment]:
        period_s, due_s = self._size / RATE, time.monotonic()
        while True:
            while not self._made:
                await self._generate()
            await asyncio.sleep(due_s - time.monotonic())
            yield self._give(self._made.popleft())
            late_s = time.monotonic() - due_s
            due_s = due_s + period_s if late_s < BEHIND_S else time.monotonic()

    async def _generate(self) -> None:
        pcm, parts = self._next()
        self._blocks.append((pcm, parts))
        self._heard = np.concatenate([self._heard, self._narrow(pcm)])
        size = self._stream.samples_per_frame
        heard, self._heard = self._heard[:size], self._heard[size:]
        speech = heard.astype(np.float32) / np.float32(32768)
        self._made.extend(await self._run(lambda: self._step(speech)))

    def _step(self, speech: NDArray[np.float32]) -> list[Frame]:
        self._stream.push(speech)
        return list(self._stream.step())

    async def _run(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _next(self) -> Block:
        """The next frame's samples, and how many of them are of which segment."""
        block, parts, at = np.zeros(self._size, np.int16), [], 0
        for speech in self._speeches:
            part, speech.pcm = speech.pcm[: self._size - at], speech.pcm[self._size - at :]
            block[at : at + len(part)] = part
            parts.append((speech, len(part)))
            at += len(part)
            if not speech.whole or len(speech.pcm):
                break
        return block, parts

    def _give(self, frame: Frame) -> Moment:
        while self._index < frame.index and self._blocks:  # skipped by an interrupt
            self._blocks.popleft()
            self._index += 1
        silence: Block = (np.zeros(self._size, np.int16), [])
        pcm, parts = self._blocks.popleft() if self._blocks else silence
        self._index += 1
        for speech, count in parts:
            self._tell(speech, count)
        picture = av.VideoFrame.from_ndarray(frame.image, "rgb24")
        return Moment(frame.index * self._size / RATE, picture, pcm)

    def _tell(self, speech: _Speech, count: int) -> None:
        speech.given += count
        if count:
            speech.segment.start()
        placed = sum(n for _, parts in self._blocks for one, n in parts if one is speech)
        if speech.whole and not len(speech.pcm) and not placed and speech in self._speeches:
            self._speeches.remove(speech)
            speech.segment.finish(Heard(round(1000 * speech.given / RATE), False, 0))
