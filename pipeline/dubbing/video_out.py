"""Writes a dubbed video as MP4: the source's frames with their times, colours and rotation, new
sound, and those other streams that MP4 can carry. Complete, or no file at all."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.dubbing.video_in import FORMATS, Shot, opened
from pipeline.media.video_file import AUDIO_RATE, VideoWriter

_X264: Final = {"preset": "superfast", "crf": "17", "bf": "3", "rc-lookahead": "10"}
_BIT_RATE: Final = 160_000  # of the sound
_CARRIED: Final = frozenset({"mov_text"})  # codecs of other streams that MP4 takes as they are


class DubWriter(VideoWriter):
    """The output beside its source; ``layout`` is the new sound's. Raises ``OutputError``."""

    def __init__(
        self, path: Path, source: Path, turned: int, layout: str,
        seal: Callable[[Path], None] | None = None,
    ) -> None:  # fmt: skip
        self._source, self._turned = source, turned
        self._start: int | None = None
        self._copies: dict[int, Stream] = {}
        self.left_out: list[str] = []
        with opened(source) as (_, stream):
            super().__init__(path, stream.width, stream.height, layout, 25, seal)

    def _open(self) -> None:
        with opened(self._source) as (container, stream):
            self._container = av.open(
                str(self._part), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._describe(stream)
            self._audio = self._container.add_stream(
                "aac", rate=AUDIO_RATE, layout=self.layout, bit_rate=_BIT_RATE
            )
            self._copy_others(container, stream)
            self._container.metadata.update(container.metadata)

    def _describe(self, source: VideoStream) -> None:
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        given, name = source.codec_context, source.codec_context.pix_fmt
        self._video = self._container.add_stream("libx264", rate=rate, options=_X264)
        self._video.width, self._video.height = self.width, self.height
        self._video.pix_fmt = name if name in FORMATS else "yuv420p"
        context: Any = self._video.codec_context
        self._base = source.time_base or Fraction(1, 90_000)
        context.time_base = self._base
        context.thread_count = 2
        for what in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(context, what, getattr(given, what))
        if given.sample_aspect_ratio:
            context.sample_aspect_ratio = given.sample_aspect_ratio
        if self._turned:
            self._video.set_display_rotation(90 * self._turned)

    def _copy_others(self, container: InputContainer, video: VideoStream) -> None:
        for stream in container.streams:
            if stream.index == video.index or stream.type == "audio":
                continue
            context = getattr(stream, "codec_context", None)
            codec = context.name if context is not None else "unknown"
            if codec in _CARRIED:
                self._copies[stream.index] = self._container.add_stream_from_template(stream)
            else:
                self.left_out.append(f"{stream.type} ({codec})")

    def shot(self, shot: Shot) -> None:
        """Appends a frame at its own time."""
        frame = shot.frame
        now = frame.pts or 0
        self._start = now if self._start is None else self._start
        frame.pts = now - self._start
        frame.dts = None
        if frame.time_base is None:
            frame.time_base = self._base
        self.frames += 1
        self._write(self._video, frame)

    def packet(self, packet: Packet[Any]) -> None:
        """Passes on what belongs to a stream that is kept."""
        target = self._copies.get(packet.stream.index)
        if target is None or packet.dts is None:
            return
        packet.stream = target
        self._container.mux(packet)
