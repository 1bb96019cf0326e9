"""A sound file as a microphone: 20 ms blocks in real time, and the moment each one left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from client.errors import BadSource

Pcm = NDArray[np.int16]

RATE: Final = 48_000
BLOCK: Final = 960
HELD: Final = 10  # blocks that nobody has asked for yet; older ones are gone


def read(path: Path) -> Pcm:
    """All of a sound file as 48 kHz mono. Raises ``BadSource``."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise BadSource(f"{path} holds no sound")
            for frame in [*container.decode(audio=0), None]:
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    except (av.FFmpegError, OSError) as failure:
        raise BadSource(f"cannot read {path}: {failure.strerror}") from failure
    if not pieces:
        raise BadSource(f"{path} holds no sound")
    return np.concatenate(pieces).astype(np.int16)


class Microphone(MediaStreamTrack):
    """Speaks ``pcm``, then silence, or begins again when ``repeat`` is set.

    A block leaves when its last sample would have been captured, as from a real microphone.
    """

    kind = "audio"

    def __init__(self, pcm: Pcm, repeat: bool = False) -> None:
        super().__init__()
        self.pcm, self._repeat = pcm, repeat
        self._block = 0
        self._started_s = 0.0
        self._hushed: int | None = None
        self.on_sent: Callable[[int], None] = lambda start: None  # first sample of a block

    async def recv(self) -> av.AudioFrame:
        """The next block, not before its time."""
        if self.readyState != "live":
            raise MediaStreamError
        self._started_s = self._started_s or time.monotonic()
        if self._block:
            self.on_sent((self._block - 1) * BLOCK)
        self._block = max(self._block + 1, self._captured() - HELD)
        await asyncio.sleep(self._started_s + self._block * BLOCK / RATE - time.monotonic())
        at = (self._block - 1) * BLOCK
        frame = av.AudioFrame.from_ndarray(self.spoken(at, BLOCK)[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        return frame

    def _captured(self) -> int:
        """Blocks that were captured by now."""
        return int((time.monotonic() - self._started_s) * RATE / BLOCK)

    def hush(self) -> None:
        """Silence from the next block on."""
        self._hushed = self.position

    def captured_s(self, sample: int) -> float:
        """When (monotonic clock) a sample was in front of the microphone."""
        return self._started_s + sample / RATE

    def spoken(self, start: int, size: int) -> Pcm:
        """The samples from ``start`` on."""
        at = np.arange(start, start + size)
        silent = at >= (len(self.pcm) if self._hushed is None else self._hushed)
        if self._repeat and self._hushed is None:
            silent[:] = False
        return np.where(silent, 0, self.pcm[at % len(self.pcm)]).astype(np.int16)

    @property
    def position(self) -> int:
        """Samples spoken so far."""
        return self._block * BLOCK


class Spoken(MediaStreamTrack):
    """A microphone on one connection; when this ends, the microphone goes on."""

    kind = "audio"

    def __init__(self, microphone: Microphone) -> None:
        super().__init__()
        self._microphone = microphone

    async def recv(self) -> av.AudioFrame:
        """The next block."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._microphone.recv()
