"""A model of your own behind the interface that every model has: the picture glows with the voice.

    python examples/custom_model.py --avatar mira --audio speech.wav --out glow.mp4

It satisfies ``pipeline.interface.AvatarModel``, so it renders files and serves calls like any other
model; options are those of ``python -m pipeline.render``. A real one would be a folder under
``pipeline/models/``, opened by ``pipeline/loader.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.consent import ConsentGrant
from pipeline.errors import BackgroundInvalid
from pipeline.interface import (
    SAMPLE_RATE,
    Avatar,
    AvatarFrame,
    AvatarModel,
    AvatarStream,
    Landmarks,
    Speech,
    admit,
    native,
)
from pipeline.media.background import Background
from pipeline.media.image_file import Picture, hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.media.label import Label
from pipeline.render import main
from pipeline.streaming.speech_backlog import SpeechBacklog

FPS = 25
FRAME = SAMPLE_RATE // FPS


@dataclass(frozen=True, slots=True)
class GlowAvatar:
    """A picture at the size of its frames."""

    name: str
    image_sha256: str
    picture: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.picture.shape[1], self.picture.shape[0]

    def before(self, background: Background) -> GlowAvatar:
        """This model knows no person in its picture."""
        raise BackgroundInvalid(f"the background of {self.name} stays: it is part of the picture")


class GlowStream:
    """Live: one frame a step, brighter the louder its 40 ms of speech are."""

    samples_per_frame = samples_per_step = FRAME
    look_ahead = 0

    def __init__(self, avatar: GlowAvatar, grant: ConsentGrant, label: Label) -> None:
        self.grant, self._picture, self._label = grant, avatar.picture, label
        self._backlog = SpeechBacklog()

    @property
    def samples_pushed(self) -> int:
        return self._backlog.pushed

    @property
    def media_time(self) -> int:
        return self._backlog.heard + self._backlog.skipped

    @property
    def needs(self) -> int:
        return self.media_time + FRAME

    @property
    def ready(self) -> bool:
        return not self._backlog.closed and len(self._backlog) >= FRAME

    def push(self, pcm: Speech) -> None:
        self._backlog.push(pcm)

    def step(self) -> Iterator[AvatarFrame]:
        if self.ready:
            self.grant.check()
            start = self.media_time
            loudness = float(np.sqrt(np.mean(self._backlog.take(FRAME) ** 2)))
            bright = np.clip(self._picture * (0.6 + 2 * loudness), 0, 255).astype(np.uint8)
            yield AvatarFrame(self._label.stamp(bright), start // FRAME, start)

    def skip(self, samples: int) -> int:
        return self._backlog.skip(samples, FRAME)

    def interrupt(self) -> None:
        self.skip(len(self._backlog))

    def flush(self) -> None:
        self.push(np.zeros(-len(self._backlog) % FRAME, np.float32))

    def set_prompt(self, prompt: str) -> None:
        """It has one style."""

    def metrics(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self._backlog.close()


class GlowModel:
    """The model. It is its own engine: there is nothing to batch."""

    frame_rate = FPS
    device, reason, license = "cpu", "an example", "Apache-2.0"
    notices: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.label = Label()

    @property
    def engine(self) -> GlowModel:
        return self

    def step(self, streams: Sequence[AvatarStream]) -> list[Iterable[AvatarFrame]]:
        return [native(stream, GlowStream).step() for stream in streams]

    def describe_runtime(self) -> dict[str, object]:
        return {}

    def bundled(
        self, name: str, grant: ConsentGrant, *, size: tuple[int, int] | None = None
    ) -> GlowAvatar:
        return self.enrol(load_picture(hash_picture(find_avatar(name).reference)), grant, size=size)

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: Landmarks | None = None,
        size: tuple[int, int] | None = None,
    ) -> GlowAvatar:
        grant.check(image_sha256=image.sha256)
        scaled = Image.fromarray(image.pixels).resize(size or (512, 512))
        return GlowAvatar(grant.avatar, image.sha256, np.asarray(scaled))

    def open(
        self, avatar: Avatar, grant: ConsentGrant, prompt: str = "", seed: int = 0
    ) -> GlowStream:
        admit(grant, avatar.image_sha256)
        return GlowStream(native(avatar, GlowAvatar), grant, self.label)

    def render(
        self,
        avatar: Avatar,
        grant: ConsentGrant,
        speech: Iterable[Speech],
        prompt: str = "",
        seed: int = 0,
        schedule: str = "parallel",
    ) -> Iterator[AvatarFrame]:
        stream = self.open(avatar, grant)
        for piece in speech:
            stream.push(piece)
            while stream.ready:
                yield from stream.step()
        stream.flush()
        while stream.ready:
            yield from stream.step()


def load() -> AvatarModel:
    """What ``pipeline/loader.py`` returns for a model of the project."""
    return GlowModel()


if __name__ == "__main__":
    sys.exit(main(load=load))
