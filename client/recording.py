"""What came back, as an MP4: pictures and sound where the sender's clock puts them.

Encodes on a thread of its own. Until both sender reports have come nobody knows what belongs
together, so the first second waits. ``limit`` bounds what waits for the encoder; beyond it
pictures are left out and counted, sound is not.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from queue import Queue
from typing import Any, Final, cast

import av
import numpy as np
from numpy.typing import NDArray

from client.receive import Picture, SenderClock, Sound

AUDIO_RATE: Final = 48_000
VIDEO_CLOCK: Final = 90_000
BLOCK: Final = 1024
REPORTS_S: Final = 4.0  # sender reports come at least this often; without one, arrival must do


class Recording:
    """``picture`` and ``sound`` take what came; ``close`` finishes the file."""

    def __init__(
        self, path: Path, video: SenderClock, audio: SenderClock, limit: int = 250
    ) -> None:
        self._clocks = {"video": video, "audio": audio}
        self._waiting: list[Picture | Sound] = []
        self._start_s: float | None = None
        self._queue: Queue[tuple[float, Picture | Sound] | None] = Queue()
        self._path, self._limit = path, limit
        self.left_out = 0
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def picture(self, picture: Picture) -> None:
        """Takes a picture."""
        if self._queue.qsize() > self._limit:
            self.left_out += 1
        else:
            self._take(picture)

    def sound(self, sound: Sound) -> None:
        """Takes a packet of sound."""
        self._take(sound)

    def close(self) -> None:
        """Writes what is left and finishes the file. Raises what the writer could not do."""
        self._flush()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def begun(self) -> bool:
        """Whether there is a file: it begins with the first picture."""
        return self._thread is not None

    def _take(self, piece: Picture | Sound) -> None:
        self._waiting.append(piece)
        timed = all(clock.at(0) is not None for clock in self._clocks.values())
        if timed or piece.arrived_s - self._waiting[0].arrived_s > REPORTS_S:
            self._flush()

    def _flush(self) -> None:
        if self._start_s is None:
            first = next((piece for piece in self._waiting if isinstance(piece, Picture)), None)
            if first is None:
                return
            self._start_s = self._when(first)
            size = (first.frame.width, first.frame.height)
            self._thread = threading.Thread(target=self._write, args=size, name="recording")
            self._thread.start()
        for piece in self._waiting:
            self._queue.put((self._when(piece) - self._start_s, piece))
        self._waiting.clear()

    def _when(self, piece: Picture | Sound) -> float:
        at_s = self._clocks["video" if isinstance(piece, Picture) else "audio"].at(piece.rtp)
        return piece.arrived_s if at_s is None else at_s

    def _write(self, width: int, height: int) -> None:
        try:
            file = Mp4(self._path, width, height)
            while (item := self._queue.get()) is not None:
                file.add(*item)
            file.close()
        except (av.FFmpegError, OSError, ValueError) as failure:
            self._failure = failure
            while self._queue.get() is not None:
                pass  # what comes until the end has nowhere to go


class Mp4:
    """H.264 and AAC. Sound goes on without gaps: what is missing is silence."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._container = av.open(str(path), "w", format="mp4")
        self._video: Any = self._container.add_stream("libx264", rate=25)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, VIDEO_CLOCK)
        self._video.codec_context.thread_count = 1
        self._video.options = {"preset": "ultrafast", "crf": "20"}
        self._audio: Any = self._container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        self._pts = -1
        self._written = 0  # samples
        self._rest = np.zeros(0, np.int16)

    def add(self, at_s: float, piece: Picture | Sound) -> None:
        """Writes a piece that belongs at ``at_s`` of the recording."""
        if at_s < 0:
            return
        if isinstance(piece, Picture):
            self._picture(at_s, piece.frame)
        else:
            self._sound(round(at_s * AUDIO_RATE), piece.pcm)

    def close(self) -> None:
        """Finishes the file."""
        self._encode_sound(np.pad(self._rest, (0, -len(self._rest) % BLOCK)))
        for stream in (self._video, self._audio):
            self._container.mux(stream.encode(None))
        self._container.close()

    def _picture(self, at_s: float, frame: av.VideoFrame) -> None:
        if (frame.width, frame.height) != (self._video.width, self._video.height):
            frame = frame.reformat(width=self._video.width, height=self._video.height)
        self._pts = max(self._pts + 1, round(at_s * VIDEO_CLOCK))
        frame.pts, frame.time_base = self._pts, Fraction(1, VIDEO_CLOCK)
        frame.pict_type = av.video.frame.PictureType.NONE
        self._container.mux(self._video.encode(frame))

    def _sound(self, start: int, pcm: NDArray[np.int16]) -> None:
        end = self._written + len(self._rest)
        if start > end + AUDIO_RATE // 500:  # reports move a clock by less than 2 ms
            pcm = np.concatenate([np.zeros(start - end, np.int16), pcm])
        elif start < end - AUDIO_RATE // 500:
            pcm = pcm[end - start :]
        self._rest = np.concatenate([self._rest, pcm])
        whole = len(self._rest) // BLOCK * BLOCK
        self._encode_sound(self._rest[:whole])
        self._rest = self._rest[whole:]

    def _encode_sound(self, pcm: NDArray[np.int16]) -> None:
        for block in pcm.reshape(-1, BLOCK):
            wave = (block[None] / np.float32(32768)).astype(np.float32)
            frame = cast(Any, av.AudioFrame.from_ndarray(wave, "fltp", "mono"))
            frame.sample_rate, frame.pts = AUDIO_RATE, self._written
            frame.time_base = Fraction(1, AUDIO_RATE)
            self._container.mux(self._audio.encode(frame))
            self._written += BLOCK
