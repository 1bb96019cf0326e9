"""Sound file in, video file out, with the original sound beside the frames.

Two threads: generation runs ahead of the encoder by a bounded number of frames, so that neither
waits for the other and memory does not grow with the length of the speech.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pipeline.interface import AvatarFrame
from pipeline.media.audio_file import AudioFile, Samples, blocks, speech
from pipeline.media.prefetch import prefetch
from pipeline.media.video_file import AUDIO_RATE, FPS, VideoWriter

AHEAD: Final = 50  # frames that generation may be ahead of the encoder: two seconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What a render made and what it cost. ``speed`` is seconds of video per second of work."""

    out: str
    width: int
    height: int
    frames: int
    seconds: float
    render_s: float
    speed: float
    peak_memory_mb: float
    stages: dict[str, float]  # busy seconds by stage; stages of different threads overlap


class Stages:
    """Busy seconds by stage, each written by one thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to a stage."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - start

    def pulled(self, stage: str, source: Iterator[T]) -> Iterator[T]:
        """The same items; the time that the source takes to make them goes to a stage.

        Closes the source with itself, in the thread that pulls: decoders have one owner.
        """
        try:
            while True:
                with self.time(stage):
                    item = next(source, None)
                if item is None:
                    return
                yield item
        finally:
            if isinstance(source, Generator):
                source.close()


def record(
    audio: AudioFile,
    perform: Callable[[Iterator[Samples]], Iterator[AvatarFrame]],
    out: Path,
    size: tuple[int, int],
    stages: Stages,
    advanced: Callable[[int], object] = lambda frames: None,
    fps: int = FPS,
    seal: Callable[[Path], None] | None = None,
    read: Callable[[AudioFile], Iterator[Samples]] = speech,
    transparent: bool = False,
) -> Result:
    """Writes ``perform``'s frames of the speech with its sound to ``out``, all or nothing.

    ``fps`` is the rate of the frames, the model's own; ``seal`` signs the file at its end; ``read``
    gives the speech as the model takes it; frames of a ``transparent`` file have a matte.
    ``advanced`` gets the number of frames written so far. Raises what the parts raise:
    ``AudioError``, ``OutputError`` and whatever ``perform`` does.
    """
    start = stages.clock()
    layout = "mono" if audio.channels == 1 else "stereo"
    sound = blocks(audio, AUDIO_RATE, layout, AUDIO_RATE // fps)
    frames = stages.pulled("generate", perform(stages.pulled("audio", read(audio))))
    with closing(sound), VideoWriter(out, *size, layout, fps, seal, transparent) as writer:
        for frame in stages.pulled("wait", prefetch(frames, AHEAD, "generate")):
            with stages.time("encode"):
                writer.video(frame.image, frame.matte)
                for block in _next(sound):
                    writer.audio(block)
            advanced(writer.frames)
        with stages.time("encode"):
            for block in sound:
                writer.audio(block)
        count = writer.frames
    return _result(out, size, count, count / fps, stages.clock() - start, stages)


def _next(sound: Iterator[Samples]) -> list[Samples]:
    block = next(sound, None)
    return [] if block is None else [block]


def _result(
    out: Path,
    size: tuple[int, int],
    frames: int,
    seconds: float,
    render_s: float,
    stages: Stages,
) -> Result:
    return Result(
        out=str(out),
        width=size[0],
        height=size[1],
        frames=frames,
        seconds=seconds,
        render_s=round(render_s, 3),
        speed=round(seconds / render_s, 3),
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        stages=_exclusive(stages.seconds),
    )


def _exclusive(busy: dict[str, float]) -> dict[str, float]:
    """Reading the audio happens inside generation: its share is taken out of that."""
    seconds = dict(busy)
    seconds["generate"] = seconds.get("generate", 0.0) - seconds.get("audio", 0.0)
    return {stage: round(value, 3) for stage, value in seconds.items()}
