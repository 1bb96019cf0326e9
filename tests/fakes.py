"""Stand-ins for what is slow or not at hand, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.consent import ConsentGrant
from pipeline.interface import Direction, Landmarks
from pipeline.media.audio_file import Samples
from pipeline.media.image_file import Picture

SAMPLES_PER_FRAME = 640
FACE: dict[str, tuple[float, float]] = {
    "eye_outer_right": (70.0, 90.0),
    "eye_inner_right": (90.0, 90.0),
    "eye_inner_left": (110.0, 90.0),
    "eye_outer_left": (130.0, 90.5),
    "nose_tip": (100.0, 115.0),
    "mouth_corner_right": (86.0, 140.0),
    "mouth_corner_left": (114.0, 140.0),
    "jaw_angle_right": (62.0, 140.0),
    "jaw_angle_left": (138.0, 140.0),
    "chin": (100.0, 165.0),
}


@dataclass(frozen=True)
class FakeAvatar:
    name: str
    size: tuple[int, int]
    grant: ConsentGrant
    picture: Picture | None = None
    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class FakeFrame:
    image: NDArray[np.uint8]
    index: int
    media_time: int
    matte: NDArray[np.uint8] | None = None


@dataclass
class FakePipeline:
    """Draws a bar as high as the speech is loud, on a ground that the seed colours."""

    frame_rate = 25
    calls: list[str] = field(default_factory=list)
    avatar: FakeAvatar | None = None
    direction: Direction = field(default_factory=Direction)
    asked: dict[str, object] = field(default_factory=dict)
    at_frame: Callable[[int], None] = lambda index: None

    def load(self) -> FakePipeline:
        self.calls.append("load")
        return self

    def bundled(self, name: str, grant: ConsentGrant, *, size: tuple[int, int]) -> FakeAvatar:
        return self._keep(FakeAvatar(name, size, grant))

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: Landmarks | None,
        size: tuple[int, int],
    ) -> FakeAvatar:
        grant.check(image_sha256=image.sha256)
        return self._keep(FakeAvatar(grant.avatar, size, grant, image, landmarks))

    def render(
        self,
        avatar: FakeAvatar,
        grant: ConsentGrant,
        speech: Iterator[Samples],
        *,
        prompt: str,
        seed: int,
        schedule: str,
    ) -> Iterator[FakeFrame]:
        self.asked = {"prompt": prompt, "seed": seed, "schedule": schedule}
        for index, part in enumerate(_framed(speech)):
            grant.check()
            self.at_frame(index)
            yield FakeFrame(_drawn(part, avatar.size, seed), index, index * SAMPLES_PER_FRAME)

    def _keep(self, avatar: FakeAvatar) -> FakeAvatar:
        self.calls.append("enrol")
        self.avatar = avatar
        return avatar


def _framed(speech: Iterator[Samples]) -> Iterator[Samples]:
    held = np.zeros(0, np.float32)
    for block in speech:
        held = np.concatenate([held, block])
        while len(held) >= SAMPLES_PER_FRAME:
            yield held[:SAMPLES_PER_FRAME]
            held = held[SAMPLES_PER_FRAME:]
    if len(held):
        yield held


def _drawn(part: Samples, size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    width, height = size
    image = np.full((height, width, 3), 40 + seed % 100, np.uint8)
    loud = int(min(1.0, float(np.abs(part).max()) * 2) * height)
    image[height - loud :, : width // 2] = 230
    return image
