"""A video file as a stream of frames that can be drawn into, in their own pixel format.

Planes are views into the decoded frame, turned upright: what nobody writes stays exactly as it was
decoded. Knows nothing of faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.dubbing.errors import VideoMissing, VideoUnreadable, VideoUnsupported

Plane = NDArray[Any]  # 8 or 16 bits
U8 = NDArray[np.uint8]

# Pixel formats: bits, columns and rows of luma for each of chroma.
FORMATS: Final[dict[str, tuple[int, int, int]]] = {
    "yuv420p": (8, 2, 2), "yuvj420p": (8, 2, 2), "yuv422p": (8, 2, 1), "yuvj422p": (8, 2, 1),
    "yuv444p": (8, 1, 1), "yuvj444p": (8, 1, 1), "yuv420p10le": (10, 2, 2),
    "yuv422p10le": (10, 2, 1), "yuv444p10le": (10, 1, 1),
}  # fmt: skip
_REWRITTEN: Final = frozenset({"nv12", "nv21", "gray", "rgb24", "bgr24", "rgb0", "bgr0", "gbrp",
                               "pal8"})  # fmt: skip
LONGEST: Final = 4096
_SEEN: Final = 1280  # px: the longer side of what landmarks are found in
_PROTOCOLS: Final = {"protocol_whitelist": "file"}


class Shot:
    """One decoded frame. ``time_s`` counts from the video's first frame."""

    __slots__ = ("_rgb", "depth", "frame", "full", "planes", "step", "time_s", "turned")

    def __init__(self, frame: VideoFrame, time_s: float, turned: int) -> None:
        frame.make_writable()
        frame.pict_type = PictureType.NONE  # else the encoder repeats the source's choice
        self.frame, self.time_s, self.turned = frame, time_s, turned
        self.depth, *step = FORMATS[frame.format.name]
        if turned % 2:
            step.reverse()
        self.step = (step[0], step[1])
        self.full = frame.format.name.startswith("yuvj") or int(frame.color_range) == 2
        self.planes = [self._view(k) for k in range(3)]
        self._rgb: U8 | None = None

    def _view(self, k: int) -> Plane:
        plane = self.frame.planes[k]
        kind: Any = np.dtype(np.uint8 if self.depth == 8 else "<u2")
        size = kind.itemsize
        buffer: Any = plane
        rows = np.frombuffer(buffer, kind).reshape(-1, plane.line_size // size)
        return np.rot90(rows[: plane.height, : plane.width], self.turned)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown."""
        high, wide = self.planes[0].shape
        return wide, high

    def rgb(self) -> tuple[U8, float]:
        """The picture (h, w, 3), no larger than landmarks need, and px of the frame per px."""
        scale = max(1.0, max(self.size) / _SEEN)
        if self._rgb is None:
            wide, high = (max(2, round(n / scale)) for n in (self.frame.width, self.frame.height))
            small = self.frame.reformat(width=wide, height=high, format="rgb24").to_ndarray()
            self._rgb = np.ascontiguousarray(np.rot90(small, self.turned))
        return self._rgb, max(self.size) / max(self._rgb.shape[:2])

    def thumbnail(self) -> NDArray[np.float32]:
        """Luma (18, 32) in 0..1, by which cuts are found."""
        luma = self.planes[0]
        rows = np.linspace(0, luma.shape[0] - 1, 18).astype(int)
        columns = np.linspace(0, luma.shape[1] - 1, 32).astype(int)
        few = np.asarray(luma[np.ix_(rows, columns)], np.float32)
        return np.asarray(few / (2**self.depth - 1), np.float32)

    def forget(self) -> None:
        """Drops the RGB copy, which landmarks alone need."""
        self._rgb = None


@dataclass(slots=True)
class VideoFile:
    """A video that can be dubbed. ``seconds`` and ``rate`` are what the file says, if it does."""

    path: Path
    width: int  # as shown
    height: int
    rate: float
    seconds: float | None
    format: str
    turned: int  # quarter turns from how it is stored to how it is shown
    broken: int = 0  # packets that could not be decoded, counted while it is read


def open_video(path: Path) -> VideoFile:
    """What ``path`` holds. Raises a ``VideoError`` for what cannot be dubbed."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise VideoMissing(f"video {path} {what}: name a video file")
    with opened(path) as (container, stream):
        first = next(_decoded(container, stream, None), None)
        if first is None:
            raise VideoUnreadable(f"no frame of {path} can be decoded: export it again as MP4")
        _check(path, first)
        turned = _quarters(path, first)
        wide, high = (first.width, first.height)[:: -1 if turned % 2 else 1]
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        return VideoFile(
            path, wide, high, rate, _seconds(container, stream), _format(first), turned
        )


def frames(video: VideoFile, sparse: bool = False) -> Iterator[Shot]:
    """Every frame in order of showing; ``sparse`` leaves out what no other frame refers to."""
    for shot in parts(video, sparse):
        if isinstance(shot, Shot):
            yield shot


def parts(video: VideoFile, sparse: bool = False) -> Iterator[Shot | Packet[Any]]:
    """Frames, and between them the packets of the file's other streams, as they come."""
    with opened(video.path) as (container, stream):
        # Not by frame threads: one that logs waits for Python, which waits for it when it is freed.
        if sparse:
            stream.codec_context.skip_frame = "NONREF"
        start: float | None = None
        for packet in container.demux():
            if packet.stream.index != stream.index:
                yield packet
                continue
            for frame in _of(packet, video):
                frame = _kept(frame, video)
                start = frame.time if start is None else start
                yield Shot(frame, float(frame.time - start), video.turned)


def _of(packet: Packet[Any], video: VideoFile) -> list[VideoFrame]:
    try:
        found = [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
    except av.FFmpegError:
        video.broken += 1
        return []
    return [frame for frame in found if frame.pts is not None]


def _kept(frame: VideoFrame, video: VideoFile) -> VideoFrame:
    if _format(frame) != video.format or (frame.width, frame.height)[
        :: -1 if video.turned % 2 else 1
    ] != (video.width, video.height):
        raise VideoUnsupported(
            f"{video.path} changes its size or pixel format on the way: export it as one"
        )
    return frame if frame.format.name in FORMATS else frame.reformat(format="yuv420p")


def _decoded(
    container: InputContainer, stream: VideoStream, video: VideoFile | None
) -> Iterator[VideoFrame]:
    for packet in container.demux(stream):
        try:
            yield from (f for f in packet.decode() if isinstance(f, VideoFrame))
        except av.FFmpegError:
            continue


def _format(frame: VideoFrame) -> str:
    name = frame.format.name
    return name if name in FORMATS else "yuv420p"


def _check(path: Path, frame: VideoFrame) -> None:
    name = frame.format.name
    if name not in FORMATS and name not in _REWRITTEN:
        raise VideoUnsupported(
            f"{path} has pixels of format {name}: use 8 or 10 bits without transparency"
            " (ffmpeg -pix_fmt yuv420p)"
        )
    if frame.interlaced_frame:
        raise VideoUnsupported(f"{path} is interlaced: make whole frames first (ffmpeg -vf bwdif)")
    if frame.width % 2 or frame.height % 2:
        raise VideoUnsupported(
            f"{path} is {frame.width}x{frame.height}: H.264 needs even numbers, crop one line"
        )
    if not 64 <= min(frame.width, frame.height) <= max(frame.width, frame.height) <= LONGEST:
        raise VideoUnsupported(
            f"{path} is {frame.width}x{frame.height}, supported is 64 to {LONGEST} a side"
        )


def _quarters(path: Path, frame: VideoFrame) -> int:
    if frame.rotation % 90:
        raise VideoUnsupported(f"{path} is turned by {frame.rotation} degrees: use quarter turns")
    return (frame.rotation // 90) % 4


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and the stream that a player shows. Raises ``VideoUnreadable``."""
    try:
        container = av.open(f"file:{path}", options=_PROTOCOLS, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise VideoUnreadable(
            f"{path} cannot be read as video ({error.strerror}): export it again as MP4"
        ) from error
    with container:
        usable = [
            s for s in container.streams.video
            if s.codec_context is not None and not s.disposition & Disposition.attached_pic
        ]  # fmt: skip
        if not usable:
            raise VideoUnreadable(f"{path} has no video in it: name a file with moving pictures")
        yield container, usable[0]
