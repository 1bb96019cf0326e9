"""Reading sound from files: any container, rate and channel count that PyAV knows, as a stream.

``open_audio`` looks at a file without decoding it and refuses what cannot be speech; ``blocks``
decodes it piece by piece at the rate and layout asked for, so that an hour of input never sits
in memory. Nothing here knows of speech features or of video.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Final, TypeAlias, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.errors import (
    AudioEmpty,
    AudioMissing,
    AudioNotFinite,
    AudioTruncated,
    AudioUnreadable,
)

SPEECH_RATE: Final = 16_000
BLOCK: Final = SPEECH_RATE  # samples: one second of speech
_PROTOCOLS: Final = {"protocol_whitelist": "file"}  # a playlist must not reach the network
_END_SEARCH_S: Final = 1.0
_END_SLACK_S: Final = 0.3  # the last packets of a whole file may end before what it announces
_NO_STATED_LENGTH: Final = frozenset({"mp3", "aac", "ac3", "eac3", "ogg", "mpegts"})
_UNKNOWN_SIZE: Final = 0x7FFF0000  # recorders that write into a pipe put this or more

Samples = NDArray[np.float32]
_Packets: TypeAlias = "Generator[av.Packet[AudioStream], None, None]"


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A sound file that can be read; ``duration_s`` is None when the file does not say."""

    path: Path
    rate: int
    channels: int
    duration_s: float | None


def open_audio(path: Path) -> AudioFile:
    """What ``path`` holds; raises an ``AudioError`` for anything that is not whole, real sound."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise AudioMissing(f"audio file {path} {what}: name a file with speech in it")
    if path.stat().st_size == 0:
        raise AudioEmpty(f"audio file {path} is empty (0 bytes): record or export it again")
    _check_wave(path)
    with _opened(path) as (container, stream):
        seconds = _announced_s(container, stream)
        if seconds is not None and not _NO_STATED_LENGTH & set(container.format.name.split(",")):
            _check_end(path, container, stream, seconds)
        return AudioFile(path, stream.rate, stream.channels, seconds)


def speech(audio: AudioFile, block: int = BLOCK) -> Iterator[Samples]:
    """The file as float32 (block,) mono at 16 kHz in [-1, 1]; only the last may be shorter.

    Together the blocks hold ``ceil(seconds * 16000)`` samples. Raises what ``blocks`` raises.
    """
    return (part[0] for part in blocks(audio, SPEECH_RATE, "mono", block))


def blocks(audio: AudioFile, rate: int, layout: str, block: int = BLOCK) -> Iterator[Samples]:
    """The file's sound resampled and mixed: float32 (channels, block) in [-1, 1].

    Raises ``AudioNotFinite`` at NaN or infinite samples and ``AudioUnreadable`` where the file is
    damaged, both with the position in seconds, and ``AudioEmpty`` when no sample comes at all.
    """
    converter = _Converter(audio.path, rate, layout)
    held, length = [np.zeros((converter.channels, 0), np.float32)], 0
    with _opened(audio.path) as (container, stream):
        for part in converter.run(container, stream):
            held.append(part)
            length += part.shape[1]
            while length >= block:
                joined = np.concatenate(held, axis=1)
                yield joined[:, :block]
                held, length = [joined[:, block:]], length - block
    if length:
        yield np.concatenate(held, axis=1)


class _Converter:
    """Decodes, checks and resamples; its output lasts exactly as long as what was decoded."""

    def __init__(self, path: Path, rate: int, layout: str) -> None:
        self.path, self.rate, self.layout = path, rate, layout
        self.channels = av.AudioLayout(layout).nb_channels
        self.source_s = Fraction(0)
        self.made = 0

    def run(self, container: InputContainer, stream: AudioStream) -> Iterator[Samples]:
        resampler, form = self._resampler(), None
        for frame in self._decoded(container, stream):
            if form not in (None, form := _form(frame)):  # some files change format on the way
                yield from self._cut(resampler.resample(None))
                resampler = self._resampler()
            self._check(frame)
            self.source_s += Fraction(frame.samples, frame.sample_rate)
            frame.pts = None  # length is counted in samples; a gap in timestamps is no sound
            yield from self._cut(resampler.resample(frame))
        if not self.source_s:
            raise AudioEmpty(f"audio file {self.path} holds no samples: record or export it again")
        yield from self._cut(resampler.resample(None))
        yield from self._filled()

    def _resampler(self) -> av.AudioResampler:
        return av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)

    def _decoded(self, container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
        try:
            # PyAV leaks a packet for each of its demuxers that is dropped before its end.
            with closing(cast("_Packets", container.demux(stream))) as packets:
                for packet in packets:
                    yield from (frame for frame in packet.decode() if frame.samples)
        except av.FFmpegError as error:
            raise AudioUnreadable(
                f"audio file {self.path} is damaged {float(self.source_s):.3f} s into it"
                f" ({error.strerror}): export it again"
            ) from error

    def _check(self, frame: av.AudioFrame) -> None:
        """Only float formats can hold NaN; the resampler would smear it over its neighbours."""
        if not frame.format.name.startswith(("flt", "dbl")):
            return
        bad = ~np.isfinite(frame.to_ndarray()).all(axis=0)
        if bad.any():
            interleaved = 1 if frame.format.is_planar else frame.layout.nb_channels
            first = int(bad.argmax()) // interleaved
            at_s = float(self.source_s) + first / frame.sample_rate
            raise AudioNotFinite(
                f"audio file {self.path} has a NaN or infinite sample at {at_s:.3f} s:"
                " repair it or export it again as 16-bit"
            )

    def _cut(self, frames: list[av.AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            samples = np.asarray(frame.to_ndarray(), np.float32)[:, : self._due() - self.made]
            part = samples.clip(-1.0, 1.0)
            self.made += part.shape[1]
            yield part

    def _filled(self) -> Iterator[Samples]:
        missing = self._due() - self.made
        yield np.zeros((self.channels, missing), np.float32)

    def _due(self) -> int:
        return ceil(self.source_s * self.rate)


def _form(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The first sound stream of a local file; what PyAV refuses becomes an ``AudioError``."""
    try:
        container = av.open(f"file:{path}", options=_PROTOCOLS, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise AudioUnreadable(
            f"{path} cannot be read as audio ({error.strerror}): use WAV, FLAC, MP3, M4A or Ogg"
        ) from error
    with container:
        if not container.streams.audio:
            raise AudioUnreadable(f"{path} has no sound in it: use a file with speech")
        if container.streams.audio[0].codec_context is None:
            raise AudioUnreadable(f"the sound in {path} is of no known kind: export it as WAV")
        yield container, container.streams.audio[0]


def _announced_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else the file's length may be another stream's
    return container.duration / av.time_base if alone and container.duration else None


def _check_end(
    path: Path, container: InputContainer, stream: AudioStream, announced_s: float
) -> None:
    """Looks for packets at the announced end, so that a cut file is refused before any work."""
    start = max(0.0, announced_s - _END_SEARCH_S)
    reached = 0.0
    try:
        container.seek(int(start * av.time_base))
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None:
                reached = float((packet.pts + (packet.duration or 0)) * packet.time_base)
    except av.FFmpegError:
        reached = 0.0
    if reached < announced_s - _END_SLACK_S:
        raise _truncated(path, f"announces {announced_s:.1f} s but ends before that")


def _check_wave(path: Path) -> None:
    """FFmpeg reads a cut WAV as a shorter one; its header tells."""
    with path.open("rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            return
        size_on_disk = path.stat().st_size
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                if size < _UNKNOWN_SIZE and file.tell() + size > size_on_disk:
                    there = size_on_disk - file.tell()
                    raise _truncated(path, f"announces {size} bytes of sound but has {there}")
                return
            file.seek(size + size % 2, 1)
    raise _truncated(path, "is a WAV file whose header is not complete")


def _truncated(path: Path, what: str) -> AudioTruncated:
    return AudioTruncated(f"audio file {path} {what}: it was cut off, copy or export it again")
