"""Writes frames and sound as a video file (MP4, WebM, MOV): complete, or no file at all.

The file is written under a temporary name in the target's folder and renamed when it is complete;
on any error it is removed. Knows nothing of where frames or samples come from.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.frame import Frame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.errors import (
    OutputFolderMissing,
    OutputFull,
    OutputSizeInvalid,
    OutputUnwritable,
)
from pipeline.media.containers import container_of

FPS: Final = 25
AUDIO_RATE: Final = 48_000
MIN_SIDE: Final = 64
MAX_SIDE: Final = 4096
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_size(width: int, height: int) -> None:
    """Raises ``OutputSizeInvalid`` for a frame size that H.264 in yuv420p cannot carry."""
    if width % 2 or height % 2:
        raise OutputSizeInvalid(
            f"frame size {width}x{height} is odd: H.264 needs even numbers,"
            f" use {width + width % 2}x{height + height % 2}"
        )
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise OutputSizeInvalid(
            f"frame size {width}x{height} is outside {MIN_SIDE}..{MAX_SIDE} on a side"
        )


class VideoWriter:
    """One video file, as a context manager: leaving it normally completes the file.

    The name's ending chooses the container (``containers``). ``layout`` is the sound's ("mono" or
    "stereo"), at 48 kHz; ``fps`` the model's frame rate; ``seal`` signs the finished file before it
    takes its name; ``transparent`` files carry a matte. Raises ``OutputError``.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        layout: str = "mono",
        fps: int = FPS,
        seal: Callable[[Path], None] | None = None,
        transparent: bool = False,
    ) -> None:
        check_size(width, height)
        self._kind, self._transparent = container_of(path, transparent), transparent
        self._pixels = (self._kind.matte if transparent else None) or self._kind.pixels
        self.fps, self._seal = fps, seal
        self.path = path
        self.width, self.height, self.layout = width, height, layout
        self.frames = 0
        self.samples = 0
        self._reformatter = VideoReformatter()  # kept: setting one up costs as much as its use
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")

    def __enter__(self) -> Self:
        check_target(self.path)
        try:
            with _reported(self.path):
                self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def video(self, image: NDArray[np.uint8], matte: NDArray[np.uint8] | None = None) -> None:
        """Appends one frame, uint8 (height, width, 3) RGB, with its matte (height, width) if the
        file is transparent."""
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"frame is {image.shape}, file is {(self.height, self.width, 3)}")
        if (matte is not None) != self._transparent:
            raise ValueError("frames have a matte exactly where the file is transparent")
        pixels = image if matte is None else np.dstack([image, matte])
        shown = av.VideoFrame.from_numpy_buffer(
            np.ascontiguousarray(pixels), format="rgb24" if matte is None else "rgba"
        )
        frame = self._reformatter.reformat(
            shown, format=self._pixels, dst_colorspace=Colorspace.ITU709, threads=1
        )
        frame.pts, frame.time_base = self.frames, Fraction(1, self.fps)
        self.frames += 1
        self._write(self._video, frame)

    def audio(self, samples: NDArray[np.float32]) -> None:
        """Appends sound, float32 (channels, n) in [-1, 1] at 48 kHz."""
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp", layout=self.layout
        )
        frame.sample_rate, frame.pts = AUDIO_RATE, self.samples
        frame.time_base = Fraction(1, AUDIO_RATE)
        self.samples += samples.shape[1]
        self._write(self._audio, frame)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._complete()
        finally:
            self._discard()

    def _open(self) -> None:
        kind = self._kind
        self._container = av.open(
            str(self._part), "w", format=kind.format, options=dict(kind.muxer)
        )
        video = self._container.add_stream(kind.codec, rate=self.fps, options=dict(kind.options))
        self._video = cast(VideoStream, video)
        self._video.width, self._video.height = self.width, self.height
        self._video.pix_fmt = self._pixels
        if self._transparent:
            self._video.metadata["alpha_mode"] = "1"  # Matroska's flag that a matte is there
        context = self._video.codec_context
        context.thread_count = 1  # the other cores belong to generation
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        audio = self._container.add_stream(
            kind.sound, rate=AUDIO_RATE, layout=self.layout, options=dict(kind.sound_options)
        )
        self._audio = cast(AudioStream, audio)
        if kind.bit_rate:
            self._audio.bit_rate = kind.bit_rate

    def _write(self, stream: VideoStream | AudioStream, frame: Frame | None) -> None:
        with _reported(self.path):
            self._container.mux(stream.encode(frame))  # type: ignore[arg-type]

    def _complete(self) -> None:
        self._write(self._video, None)
        self._write(self._audio, None)
        with _reported(self.path):
            self._container.close()
            if self._seal is not None:
                self._seal(self._part)
            os.replace(self._part, self.path)

    def _discard(self) -> None:
        """Leaves no temporary file behind; after completion there is none and this does nothing."""
        if not self._part.exists():
            return
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._part.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raises an ``OutputError`` unless a file of this name can be made here."""
    if not path.parent.is_dir():
        raise OutputFolderMissing(f"output folder {path.parent} does not exist: create it first")
    if path.is_dir():
        raise OutputUnwritable(f"output {path} is a folder: name a file in it")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """What the disk refuses becomes an ``OutputError`` that names the file."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        if error.errno in _FULL:
            raise OutputFull(
                f"no space left to write {path}: free some or choose another"
            ) from error
        raise OutputUnwritable(f"cannot write {path} ({error.strerror})") from error
