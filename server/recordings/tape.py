"""Where pictures and sound are written to, encoded as H.264 and AAC: a file or a connection."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from server.media.clock import RATE

Pcm = NDArray[np.int16]
SOUND_RATE: Final = 48_000
WIDE: Final = SOUND_RATE // RATE
_X264: Final = {"preset": "superfast", "tune": "zerolatency", "crf": "23"}


class Tape:
    """A file or a connection: one video and one audio stream, timed from the first picture.

    ``at`` is that picture's position, ``options`` are libx264's. Raises ``av.FFmpegError`` and
    ``OSError`` where nothing can be written there.
    """

    def __init__(
        self,
        target: str,
        size: tuple[int, int],
        at: int,
        container: str,
        options: dict[str, str] | None = None,
        *,
        muxer: dict[str, str] | None = None,
        comment: str = "",
        timeout: float | None = None,
    ) -> None:
        self._size, self._began = size, at
        self.samples = self.pictures = 0
        self._last = -1
        self._file = av.open(target, "w", format=container, options=muxer or {}, timeout=timeout)
        if comment:
            self._file.metadata["comment"] = comment
        self._video = self._file.add_stream("libx264", rate=25, options=_X264 | (options or {}))
        self._video.width, self._video.height, self._video.pix_fmt = *size, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, RATE)
        self._video.codec_context.gop_size = 50
        self._video.codec_context.thread_count = 1
        self._audio = self._file.add_stream("aac", rate=SOUND_RATE, layout="mono", bit_rate=96_000)
        self._file.start_encoding()

    def picture(self, at: int, picture: av.VideoFrame) -> None:
        pixels = picture.to_ndarray()  # a copy: whoever sends it changes its timestamps
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        if (frame.width, frame.height) != self._size:
            frame = frame.reformat(*self._size)
        self._last = max(self._last + 1, at - self._began)
        frame.pts, frame.time_base = self._last, Fraction(1, RATE)
        frame.pict_type = PictureType.NONE
        self.pictures += 1
        self._mux(self._video, frame)

    def sound(self, at: int, pcm: Pcm) -> None:
        start = (at - self._began) * WIDE
        if start + len(pcm) <= 0:
            return
        gap = start - self.samples
        if gap > 0:  # the loop was held up: what was not sent is silence here, too
            pcm = np.concatenate([np.zeros(gap, np.int16), pcm])
        pcm = pcm[max(0, -gap) :]
        if not len(pcm):
            return
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE, self.samples
        frame.time_base = Fraction(1, SOUND_RATE)
        self.samples += len(pcm)
        self._mux(self._audio, frame)

    def close(self) -> None:
        self._mux(self._video, None)
        self._mux(self._audio, None)
        self._file.close()

    def _mux(self, stream: VideoStream | AudioStream, frame: Any) -> None:
        for packet in stream.encode(frame):
            self._file.mux(packet)
