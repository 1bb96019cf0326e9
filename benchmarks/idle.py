"""``python -m benchmarks.idle``: the server with a pipeline that draws nothing.

What is left is what live media costs: packets, Opus, resampling, RGB to YUV, VP8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import catalogue, find_avatar
from pipeline.interface import AvatarFrame
from server import settings
from server.api.serve import serve
from server.avatars.catalog import Avatars, Card
from server.observability import logs
from server.sessions.session_manager import SessionManager

FRAME: Final = 640
TICK: Final = 2 * FRAME
SIZE: Final = 512


class Still:
    """A stream that shows its avatar's picture, moved by a pixel or two."""

    samples_per_frame: Final = FRAME
    samples_per_step: Final = TICK
    look_ahead: Final = FRAME

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.media_time = self.samples_pushed = 0
        self._images = [np.roll(image, shift, axis=1).copy() for shift in (0, 1, 2, 1)]

    def push(self, pcm: NDArray[np.float32]) -> None:
        """Takes speech."""
        self.samples_pushed += len(pcm)

    @property
    def needs(self) -> int:
        """A chunk and its look-ahead."""
        return self.media_time + TICK + FRAME

    @property
    def ready(self) -> bool:
        """Whether they have come."""
        return self.samples_pushed >= self.needs

    def step(self) -> Iterator[AvatarFrame]:
        """Two frames."""
        if self.ready:
            start, self.media_time = self.media_time, self.media_time + TICK
            for at in (start, start + FRAME):
                index = at // FRAME
                yield AvatarFrame(self._images[index % 4].copy(), index, at)

    def skip(self, samples: int) -> int:
        """Drops whole chunks."""
        dropped = min(samples, self.samples_pushed - self.media_time) // TICK * TICK
        self.media_time += dropped
        return dropped

    def interrupt(self) -> None:
        """Drops what is pending."""
        self.skip(self.samples_pushed - self.media_time)

    def set_prompt(self, prompt: str) -> None:
        """Nothing changes."""

    def close(self) -> None:
        """Nothing is held."""


class Idle:
    """Model and engine in one."""

    device: Final = "cpu"
    reason: Final = "shows a still picture"
    license: Final = "none"
    notices: Final[tuple[str, ...]] = ()

    def describe_runtime(self) -> dict[str, object]:
        """Nothing runs."""
        return {}

    @property
    def engine(self) -> Idle:
        return self

    def open(self, avatar: Any, grant: Any, prompt: str = "", seed: int = 0) -> Still:
        """A stream."""
        return Still(avatar.image)

    def step(self, streams: Sequence[Still]) -> list[list[AvatarFrame]]:
        """A tick of each."""
        return [list(stream.step()) for stream in streams]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A picture at the size of the frames."""

    image: NDArray[np.uint8]
    size: tuple[int, int] = (SIZE, SIZE)


class Pictures:
    """The bundled avatars' pictures."""

    def cards(self) -> list[Card]:
        """All of them, without their words."""
        return [Card(name, name, "", b"", "image/png") for name in catalogue()]

    def grant(self, avatar: str, session: str = "") -> object:
        """Nothing is generated, so nothing has to be granted."""
        return avatar

    def enrol(self, avatar: str, grant: object, size: object = None) -> Enrolled:
        """Reads the picture."""
        with Image.open(find_avatar(avatar).reference) as file:
            return Enrolled(np.asarray(file.convert("RGB").resize((SIZE, SIZE))))


async def main() -> None:
    """Serves until it is stopped."""
    chosen, _ = settings.load()
    logs.configure(chosen.log_level, chosen.log_json)

    async def open_server(chosen: settings.Settings) -> SessionManager:
        return SessionManager(chosen, Idle(), Avatars(Pictures()))

    await serve(chosen, open_server, lambda url: print(url, flush=True))


if __name__ == "__main__":
    asyncio.run(main())
