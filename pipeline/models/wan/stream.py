"""A live stream of a Wan checkpoint: push speech, take frames at the model's own rate.

The same face as ``pipeline.models.mini.stream.AvatarStream``; frame k covers samples [k s, (k + 1)
s) with s = 16000 / frame rate. Everything that one stream remembers is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import BackgroundInvalid
from pipeline.interface import AvatarFrame
from pipeline.media.background import Background
from pipeline.media.label import Label
from pipeline.models.wan.encoders.speech import SAMPLE_RATE, SpeechWindow
from pipeline.models.wan.generation.batching import FrameDecoder, decode_together, together
from pipeline.models.wan.generation.chunked import GenerationState, NewLatents
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.forward import Generation
from pipeline.models.wan.network.condition import Reference
from pipeline.models.wan.stage_clock import HostClock, StageClock, Stages
from pipeline.streaming.isolation import attempt, of_all, then
from pipeline.streaming.speech_backlog import SpeechBacklog

if TYPE_CHECKING:
    from pipeline.consent import ConsentGrant


@dataclass(frozen=True, slots=True)
class WanAvatar:
    """An enrolled picture at one size."""

    name: str
    image_sha256: str
    reference: Reference
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames."""
        return self.width, self.height

    def before(self, background: Background) -> WanAvatar:
        """Raises ``BackgroundInvalid``: these models draw whole pictures."""
        raise BackgroundInvalid(
            f"the background of {self.name} stays: published checkpoints draw whole pictures;"
            " put the person before another background in the picture itself"
        )


def to_pixels(frames: Tensor) -> NDArray[np.uint8]:
    """(1, 3, T, H, W) in [-1, 1] -> uint8 (T, H, W, 3)."""
    scaled = ((frames[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()


class FrameMemory:
    """The last frames that were decoded, for a recipe that encodes them again."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._frames: Tensor | None = None

    def add(self, frames: Tensor) -> None:
        joined = frames if self._frames is None else torch.cat([self._frames, frames], dim=2)
        self._frames = joined[:, :, -self._length :]

    def read(self) -> Tensor:
        """(1, 3, length, H, W)."""
        if self._frames is None or self._frames.shape[2] < self._length:
            raise ValueError(f"fewer than {self._length} frames were decoded so far")
        return self._frames


@dataclass(frozen=True, slots=True)
class Parts:
    """What a stream is made of; each remembers for this stream alone."""

    performance: GenerationState
    speech: SpeechWindow
    decoder: FrameDecoder
    memory: FrameMemory
    encode: Callable[[str], Prompts]
    clock: StageClock = field(default_factory=HostClock)


class WanStream:
    """One avatar performing. Built by ``WanPipeline.open`` from a consent grant."""

    def __init__(
        self,
        avatar: WanAvatar,
        grant: ConsentGrant,
        parts: Parts,
        frame_rate: int,
        label: Label | None = None,
        persons: int = 1,
    ) -> None:
        grant.check(image_sha256=avatar.image_sha256)
        self.avatar, self.grant = avatar, grant
        self._label = label or Label()
        self.frame_rate = frame_rate
        self.samples_per_frame = SAMPLE_RATE // frame_rate
        self._performance, self._parts = parts.performance, parts
        self._backlog = SpeechBacklog(persons)
        self._gaps: list[tuple[int, int]] = []  # before which frame, how many samples of them
        self._shown = 0  # frames generated
        self._made: NewLatents | None = None  # latents of the next frames
        self._seconds = {"hear": 0.0, "denoise": 0.0, "decode": 0.0}

    # -- speech in ---------------------------------------------------------------------------

    def push(self, pcm: NDArray[np.float32]) -> None:
        """Add float32 speech at 16 kHz, (N,), where two people speak (N, 2), as
        ``SpeechBacklog.push`` does."""
        self._backlog.push(pcm)

    def skip(self, samples: int) -> int:
        """Drop up to ``samples`` of waiting speech unheard, in whole frames; returns how many."""
        dropped = self._backlog.skip(samples, self.samples_per_frame)
        self._gaps = [gap for gap in self._gaps if gap[0] > self._shown]
        if dropped:
            self._gaps.append((self._backlog.heard // self.samples_per_frame, dropped))
        return dropped

    def interrupt(self) -> None:
        """Drop all waiting speech; the avatar goes on from silence, also where speech was encoded
        beyond the finished frames."""
        self.skip(len(self._backlog))
        self._parts.speech.hush(self._shown)

    def flush(self) -> None:
        """Pad with silence so that every sample pushed so far gets its frames."""
        due = self.samples_pushed - self._backlog.skipped
        stop, ahead = self._performance.span().stop, self._performance.ahead
        while (stop - ahead) * self.samples_per_frame < due:
            stop += self._performance.hop
        self._backlog.pad(max(stop * self.samples_per_frame - due, 0))

    def set_prompt(self, prompt: str) -> None:
        """Change the style from the next chunk on."""
        self._performance.prompts = self._parts.encode(prompt)

    # -- frames out --------------------------------------------------------------------------

    @property
    def samples_per_step(self) -> int:
        """Media time that one ``step`` makes; the first one may differ."""
        return self._performance.hop * self.samples_per_frame

    @property
    def look_ahead(self) -> int:
        """Samples behind the last frame of a step that must have been pushed too."""
        return self._performance.ahead * self.samples_per_frame

    @property
    def needs(self) -> int:
        """``samples_pushed`` from which on the next ``step`` generates."""
        return self._backlog.skipped + self._performance.span().stop * self.samples_per_frame

    @property
    def samples_pushed(self) -> int:
        """Media time of the next sample to be pushed."""
        return self._backlog.pushed

    @property
    def media_time(self) -> int:
        """Media time up to which frames were generated."""
        return self._media(self._shown)

    @property
    def backlog(self) -> int:
        """Samples that wait to be performed."""
        return self.samples_pushed - self.media_time

    @property
    def ready(self) -> bool:
        """Whether ``step`` would generate."""
        heard = self._made is not None or self.samples_pushed >= self.needs
        return heard and not self._backlog.closed

    def step(self) -> Iterator[AvatarFrame]:
        """The frames of the next chunk, or nothing if not ``ready``. Raises a ``ConsentError``
        once the grant no longer holds."""
        if self.ready:
            yield from step_together([self], 1)[0]

    def metrics(self) -> dict[str, float]:
        """Seconds of work by stage since the beginning, and frames made."""
        return {**self._seconds, "frames": float(self._shown)}

    def close(self) -> None:
        """End the performance; idempotent."""
        self._backlog.close()

    # -- a step, in the hands of ``step_together`` ----------------------------------------------

    def begin(self) -> Generation[NewLatents]:
        """Hear the next chunk's speech; its generation, which asks for forwards. A chunk that was
        generated and not shown, because something failed in between, is not generated again.
        Raises a ``ConsentError``, before anything is heard, once the grant no longer holds."""
        self.grant.check()
        if self._made is not None:
            return self._generate(None)
        span = self._performance.span()
        return self._generate(self._hear(span.start, span.stop))

    def _generate(self, features: Tensor | None) -> Generation[NewLatents]:
        if features is not None:
            self._made = yield from self._performance.turn(features)
        assert self._made is not None
        return self._made

    def place(self, fresh: NewLatents) -> tuple[FrameDecoder, Tensor]:
        """The decoder, at their place in the video, and the new latents that it gets next."""
        if fresh.lead is not None:  # shown by the chunk before
            self._parts.decoder.reset()
            self._parts.decoder.push(fresh.lead)
        return self._parts.decoder, fresh.latents

    def show(self, frames: Tensor) -> list[AvatarFrame]:
        """Decoded frames (1, 3, T, H, W), labelled and numbered."""
        self._parts.memory.add(frames)
        images = [self._label.stamp(image) for image in to_pixels(frames)]
        times = [self._media(self._shown + i) for i in range(len(images))]
        self._shown += len(images)
        self._made = None
        return [
            AvatarFrame(image, at // self.samples_per_frame, at)
            for image, at in zip(images, times, strict=True)
        ]

    @property
    def clock(self) -> StageClock:
        """Of the device that computes."""
        return self._parts.clock

    def spend(self, stage: str, seconds: float) -> None:
        """Count work that was done for this stream."""
        self._seconds[stage] += seconds

    # -- inside ------------------------------------------------------------------------------

    def _media(self, frame: int) -> int:
        """The sample at which a frame starts that is still to be shown: what was dropped before
        its own speech was heard counts."""
        later = sum(dropped for before, dropped in self._gaps if before > frame)
        return frame * self.samples_per_frame + self._backlog.skipped - later

    def _hear(self, start: int, stop: int) -> Tensor:
        need = stop * self.samples_per_frame - self._backlog.heard
        self._parts.speech.push(self._backlog.take(need))
        return self._parts.speech.read(start, stop)


def step_together(streams: Sequence[WanStream], most: int) -> list[Iterable[AvatarFrame]]:
    """One chunk of every stream, all ``ready``, at most ``most`` of them in one batch.

    What a stream raises, a ``ConsentError`` before anything is heard included, is raised when its
    own frames are taken. The others get theirs, and every stream can be stepped again.
    """
    if not streams:
        return []
    stages = Stages(streams[0].clock)
    stages.enter("hear")
    turns = [attempt(stream.begin) for stream in streams]
    stages.enter("denoise")
    fresh = of_all(lambda well: together(well, most), turns)
    stages.enter("decode")
    placed = [then(new, s.place) for s, new in zip(streams, fresh, strict=True)]
    frames = of_all(lambda well: decode_together(well, most), placed)
    shown: list[Iterable[AvatarFrame]] = [
        then(made, s.show) for s, made in zip(streams, frames, strict=True)
    ]
    for stage, spent in stages.seconds():
        for stream in streams:
            stream.spend(stage, spent / len(streams))
    return shown
