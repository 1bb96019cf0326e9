"""Records what a session's viewers see and hear, as fragmented MP4 that survives a crash.

The sender passes frames and sound without waiting. A thread of the recorder encodes and writes them
in fragments of half a second, each playable without the next. When the recording ends, it is
rewritten as a plain MP4 with signed provenance. A file left by a crash holds what is needed for
that in its own metadata; ``finish`` completes it later.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from server.media.clock import RATE

log = logging.getLogger(__name__)

Pcm = NDArray[np.int16]
Seal = Callable[[dict[str, str], Path], None]
"""Signs a finished file in place, given how it came to be."""

PARTIAL: Final = ".part.mp4"
SOUND_RATE: Final = 48_000
WIDE: Final = SOUND_RATE // RATE
MAX_PICTURES: Final = 75  # that wait for the encoder; then pictures are left out
MAX_SOUNDS: Final = 1500  # half a minute; then the disk is what is too slow
FRAGMENT_US: Final = 500_000
_X264: Final = {"preset": "superfast", "tune": "zerolatency", "crf": "23"}
_FRAGMENTS: Final = {
    "movflags": "empty_moov+default_base_moof",
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",
}


class Recorder:
    """Records until it is closed. ``picture`` and ``sound`` are called in the loop, never wait.

    ``origin`` is written into the file. ``on_failed`` is called on the recorder's thread when the
    disk is full or the encoder fails; nothing more is written then.
    """

    def __init__(
        self,
        path: Path,
        origin: dict[str, str],
        on_failed: Callable[[Exception], None] = lambda failure: None,
    ) -> None:
        self.path = path
        self.left_out = 0  # pictures that the encoder was too slow for
        self.samples = 0  # of 48 kHz sound, written
        self.pictures = 0  # written
        self._origin, self._on_failed = origin, on_failed
        self._queue: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Length of what was written."""
        return self.samples / SOUND_RATE

    def picture(self, at: int, picture: av.VideoFrame) -> None:
        """A picture that leaves at position ``at`` of the session's clock (16 kHz samples)."""
        if not self._closed and self._queue.qsize() < MAX_PICTURES:
            self._queue.put((at, picture))
        else:
            self.left_out += not self._closed

    def sound(self, at: int, pcm: Pcm) -> None:
        """48 kHz mono that leaves at ``at``."""
        if not self._closed and self._queue.qsize() < MAX_SOUNDS:
            self._queue.put((at, pcm))

    def close(self) -> None:
        """Writes what waits and ends the file; blocks. Harmless when it has ended."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    # What follows runs on the recorder's thread.

    def _run(self) -> None:
        try:
            self._write()
        except Exception as failure:  # the session goes on without its recording
            self._closed = True
            log.exception("recording %s failed", self.path.name)
            self._on_failed(failure)

    def _write(self) -> None:
        tape: _Tape | None = None
        try:
            while (item := self._queue.get()) is not None:
                at, media = item
                if isinstance(media, av.VideoFrame):
                    tape = tape or _Tape(self.path, media.width, media.height, at, self._origin)
                    tape.picture(at, media)
                elif tape is not None:
                    tape.sound(at, media)
                if tape is not None:
                    self.samples, self.pictures = tape.samples, tape.pictures
        finally:
            if tape is not None:
                tape.close()


class _Tape:
    """The file: one video and one audio stream whose time begins with the first picture."""

    def __init__(self, path: Path, width: int, height: int, at: int, origin: dict[str, str]):
        self._size, self._began = (width, height), at
        self.samples = self.pictures = 0
        self._last = -1
        self._file = av.open(str(path), "w", format="mp4", options=_FRAGMENTS)
        self._file.metadata["comment"] = json.dumps(origin)
        self._video = self._file.add_stream("libx264", rate=25, options=_X264)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.codec_context.time_base = Fraction(1, RATE)
        self._video.codec_context.gop_size = 50
        self._video.codec_context.thread_count = 1
        self._audio = self._file.add_stream("aac", rate=SOUND_RATE, layout="mono", bit_rate=96_000)

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


def finish(partial: Path, seal: Seal) -> Path | None:
    """Makes a plain, signed MP4 of a recording that has ended, by itself or by a crash.

    None when there is nothing in it to play; then it is removed. A file that cannot be signed stays
    as it is: it plays, and the log says why.
    """
    final = partial.with_name(partial.name.removesuffix(PARTIAL) + ".mp4")
    plain = partial.with_name("." + final.name)
    try:
        origin = _remux(partial, plain)
        if origin is None:
            log.warning("recording %s holds nothing: it is removed", partial.name)
            partial.unlink(missing_ok=True)
            return None
        seal(origin, plain)
        os.replace(plain, final)
        partial.unlink()
    except Exception:
        log.exception("recording %s could not be finished; it stays as it is", partial.name)
        return partial
    finally:
        plain.unlink(missing_ok=True)
    return final


def leftovers(folder: Path) -> list[Path]:
    """Partial files in the folder, in order; removes scratch files of killed processes.

    For a folder that no process is writing to.
    """
    for scratch in (*folder.glob(".*.mp4*"), *folder.glob(".*.tmp")):
        scratch.unlink(missing_ok=True)  # while it copied or signed: the part is there
    return sorted(folder.glob("*" + PARTIAL))


def _remux(source: Path, target: Path) -> dict[str, str] | None:
    """Copies the packets that are whole; the origin that the file names, or None when empty."""
    try:
        reading = av.open(str(source))
    except (av.FFmpegError, OSError):
        return None
    packets = 0
    with reading, av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in reading.streams}
        for packet in _whole(reading):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
            packets += 1
        comment = reading.metadata.get("comment", "")
    return _origin(comment) if packets else None


def _whole(reading: Any) -> Any:
    """Packets up to where the file was cut off."""
    try:
        for packet in reading.demux():
            if packet.dts is not None and packet.size:
                yield packet
    except av.FFmpegError as failure:
        log.info("a recording ends before its last fragment does: %s", failure)


def _origin(comment: str) -> dict[str, str]:
    try:
        said = json.loads(comment)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}
