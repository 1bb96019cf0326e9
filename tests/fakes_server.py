"""A pipeline with the real one's surface that draws a cheap pattern; it can be slowed or broken."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.interface import Cue
from pipeline.media.background import Background
from server.avatars.catalog import Card

RATE = 16_000


@dataclass(frozen=True, slots=True)
class FakeFrame:
    image: NDArray[np.uint8]
    index: int
    media_time: int
    matte: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class Behaviour:
    """What the fake does: seconds a step, and an exception to raise at the next one."""

    tick_s: float = 0.0
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Frames a second, a step, and heard ahead of one."""

    fps: int = 25
    step: int = 2
    ahead: int = 1


class FakeStream:
    def __init__(self, size: int, behaviour: Behaviour, rhythm: Rhythm = Rhythm()) -> None:
        self.frame_rate = rhythm.fps
        self.samples_per_frame = RATE // rhythm.fps
        self.samples_per_step = rhythm.step * self.samples_per_frame
        self.look_ahead = rhythm.ahead * self.samples_per_frame
        self.media_time = 0
        self.closed = False
        self.prompts: list[str] = []
        self.gestures: list[float] = []
        self.cues: list[Cue] = []
        self.interrupts = 0
        self._size = size
        self._behaviour = behaviour
        self._pending = np.zeros(0, np.float32)

    def push(self, pcm: NDArray[np.float32]) -> None:
        assert not self.closed and pcm.dtype == np.float32 and pcm.ndim == 1
        self._pending = np.concatenate([self._pending, pcm])

    @property
    def needs(self) -> int:
        return self.media_time + self.samples_per_step + self.look_ahead

    @property
    def ready(self) -> bool:
        return self.samples_pushed >= self.needs

    def step(self) -> Iterator[FakeFrame]:
        if self.ready:
            yield from self._tick()

    def _tick(self) -> Iterator[FakeFrame]:
        if self._behaviour.failure:
            raise self._behaviour.failure
        time.sleep(self._behaviour.tick_s)
        start, size = self.media_time, self.samples_per_step
        loudness = float(np.abs(self._pending[:size]).mean())
        self._pending = self._pending[size:]
        self.media_time += size
        for at in range(start, start + size, self.samples_per_frame):
            yield FakeFrame(self._draw(at, loudness), at // self.samples_per_frame, at)

    def _draw(self, media_time: int, loudness: float) -> NDArray[np.uint8]:
        """Grey, a bar that moves with time, and a block that is as bright as the speech is loud."""
        image = np.full((self._size, self._size, 3), 96, np.uint8)
        x = media_time // 64 % self._size
        image[: self._size // 8, x : x + 16] = (40, 200, 80)
        image[self._size // 3 : self._size // 2, self._size // 3 : self._size // 2] = min(
            255, int(loudness * 2000)
        )
        return image

    @property
    def samples_pushed(self) -> int:
        return self.media_time + len(self._pending)

    def skip(self, samples: int) -> int:
        size = self.samples_per_frame
        dropped = min(samples, len(self._pending)) // size * size
        self._pending = self._pending[dropped:]
        self.media_time += dropped
        return dropped

    def interrupt(self) -> None:
        self.interrupts += 1
        self.skip(len(self._pending))

    def set_prompt(self, prompt: str) -> None:
        self.prompts.append(prompt)

    def set_gesture(self, scale: float) -> None:
        self.gestures.append(scale)

    def cue(self, cue: Cue) -> None:
        self.cues.append(cue)

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def step(self, streams: Sequence[FakeStream]) -> list[Iterator[FakeFrame]]:
        self.batches.append(len(streams))
        return [stream.step() for stream in streams]


@dataclass(slots=True)
class FakePipeline:
    """An ``AvatarModel`` for tests."""

    device = "cpu"
    reason = "a fake"
    license = "none"
    frame_rate = 25
    notices = ()

    size: int = 256
    behaviour: Behaviour = field(default_factory=Behaviour)
    engine: FakeEngine = field(default_factory=FakeEngine)
    streams: list[FakeStream] = field(default_factory=list)
    rhythm: Rhythm = Rhythm()

    def describe_runtime(self) -> dict[str, object]:
        return {}

    def open(self, avatar: object, grant: object, prompt: str = "", seed: int = 0) -> FakeStream:
        stream = FakeStream(self.size, self.behaviour, self.rhythm)
        self.streams.append(stream)
        return stream


@dataclass(frozen=True, slots=True)
class FakeAvatar:
    name: str
    width: int = 256
    height: int = 256

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def before(self, background: Background) -> FakeAvatar:
        return self


@dataclass(frozen=True, slots=True)
class FakeGrant:
    """Holds for ever."""

    avatar: str
    consent_id: str = ""

    def check(self, session: str = "") -> None: ...


class FakeSource:
    """Avatars from nowhere; ``refusal`` is raised when a grant is asked for.

    ``enrolled`` are on offer beside the two that are always there.
    """

    def __init__(self, size: int = 256) -> None:
        self.size = size
        self.refusal: Exception | None = None
        self.enrolled: dict[str, Card] = {}

    def cards(self) -> list[Card]:
        bundled = [
            Card(
                name,
                name.title(),
                f"{name}, who does not exist",
                _picture(),
                "image/png",
                synthetic=True,
            )
            for name in ("mira", "tomo")
        ]
        return [*bundled, *self.enrolled.values()]

    def grant(self, avatar: str, session: str = "") -> FakeGrant:
        if self.refusal:
            raise self.refusal
        return FakeGrant(avatar)

    def enrol(self, avatar: str, grant: object, size: tuple[int, int] | None = None) -> FakeAvatar:
        return FakeAvatar(avatar, *(size or (self.size, self.size)))


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (40, 200, 80)).save(file, "PNG")
    return file.getvalue()
