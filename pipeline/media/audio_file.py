"""Reads sound files of any container, rate and channel count that PyAV supports, as a stream.

``open_audio`` checks a file without decoding it and refuses files without usable sound; ``blocks``
decodes it piece by piece at the requested rate and layout, so that an hour of input never sits
in memory. Knows nothing of speech features or video.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.errors import AudioEmpty, AudioMissing, AudioUnreadable
from pipeline.media.audio_decode import Decoder, Piece
from pipeline.media.audio_truncation import missing_bytes, missing_end, truncated
from pipeline.media.downmix import Downmix

SPEECH_RATE: Final = 16_000
BLOCK: Final = SPEECH_RATE  # samples: one second of speech
_PROTOCOLS: Final = {"protocol_whitelist": "file"}  # a playlist must not reach the network
_LAYOUTS: Final = {1: "mono", 2: "stereo"}
log = logging.getLogger(__name__)

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A sound file that can be read; ``duration_s`` is None when the file does not say."""

    path: Path
    rate: int
    channels: int
    duration_s: float | None
    _said: set[str] = field(default_factory=set, repr=False, compare=False)

    def say(self, problem: str) -> None:
        """Warns of what is wrong with the file, once however often it is read."""
        if problem and problem not in self._said:
            self._said.add(problem)
            log.warning("audio file %s: %s", self.path, problem)


def open_audio(path: Path) -> AudioFile:
    """What ``path`` holds; raises an ``AudioError`` for anything that cannot be speech.

    A file that was cut off is read as far as it goes, and says so.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise AudioMissing(f"audio file {path} {what}: name a file with speech in it")
    if path.stat().st_size == 0:
        raise AudioEmpty(f"audio file {path} is empty (0 bytes): record or export it again")
    missing = missing_bytes(path)
    try:
        audio, missing = _looked_at(path, missing)
    except AudioUnreadable as unreadable:
        raise truncated(path, missing) if missing else unreadable from unreadable
    if missing:
        audio.say(f"it was cut off: it {missing}; what is there is read")
    return audio


def _looked_at(path: Path, missing: str) -> tuple[AudioFile, str]:
    """The file, and what it lacks; its length is not known then."""
    with _opened(path) as (container, stream):
        seconds = _announced_s(container, stream)
        if seconds is not None and not missing:
            missing = missing_end(container, stream, seconds)
        length = None if missing else seconds
        return AudioFile(path, stream.rate, stream.channels, length), missing


def speech(audio: AudioFile, block: int = BLOCK) -> Generator[Samples, None, None]:
    """The file as float32 (block,) mono at 16 kHz in [-1, 1]; only the last may be shorter.

    Together the blocks hold ``ceil(seconds * 16000)`` samples. Raises what ``blocks`` raises.
    """
    with closing(blocks(audio, SPEECH_RATE, "mono", block)) as parts:
        for part in parts:
            yield part[0]


def check_duet(audio: AudioFile) -> None:
    """Raises ``AudioUnreadable`` unless the file has a channel for each of two speakers."""
    if audio.channels != 2:
        raise AudioUnreadable(
            f"{audio.path} has {audio.channels} channel{'s' * (audio.channels > 1)}, two speakers "
            "need two, one each: ffmpeg -i first.wav -i second.wav -filter_complex amerge both.wav"
        )


def duet(audio: AudioFile, block: int = BLOCK) -> Generator[Samples, None, None]:
    """The same with two speakers, one in each channel, after ``check_duet``: float32 (block, 2)."""
    with closing(blocks(audio, SPEECH_RATE, "stereo", block)) as parts:
        for part in parts:
            yield np.ascontiguousarray(part.T)


def blocks(
    audio: AudioFile, rate: int, layout: str, block: int = BLOCK
) -> Generator[Samples, None, None]:
    """The file's sound resampled and mixed: float32 (channels, block) in [-1, 1].

    ``layout`` is "mono" or "stereo". What cannot be decoded is silence, and said. Raises
    ``AudioNotFinite`` at NaN or infinite samples, with the position in seconds, ``AudioUnreadable``
    when more is broken than whole, and ``AudioEmpty`` when no sample comes at all.
    """
    converter = _Converter(rate, layout)
    held, length = [np.zeros((converter.channels, 0), np.float32)], 0
    with _opened(audio.path) as (container, stream):
        decoder = Decoder(str(audio.path), container, stream)
        with closing(decoder.pieces()) as pieces:  # before its container
            for part in converter.run(pieces):
                held.append(part)
                length += part.shape[1]
                while length >= block:
                    joined = np.concatenate(held, axis=1)
                    yield joined[:, :block]
                    held, length = [joined[:, block:]], length - block
    audio.say(decoder.problems())
    if length:
        yield np.concatenate(held, axis=1)


class _Converter:
    """Mixes and resamples; its output lasts exactly as long as what went in."""

    def __init__(self, rate: int, layout: str) -> None:
        self.rate, self.layout = rate, layout
        self.channels = av.AudioLayout(layout).nb_channels
        self.source_s = Fraction(0)
        self.made = 0

    def run(self, pieces: Iterator[Piece]) -> Iterator[Samples]:
        resampler, mixer, form = self._resampler(), Downmix(self.rate), None
        for piece in pieces:
            if form != (form := (piece.layout, piece.rate)):  # some files change on the way
                yield from self._cut(resampler.resample(None))
                resampler, mixer = self._resampler(), Downmix(piece.rate)
            self.source_s += piece.seconds
            yield from self._cut(resampler.resample(self._mixed(piece, mixer)))
        yield from self._cut(resampler.resample(None))
        yield np.zeros((self.channels, self._due() - self.made), np.float32)

    def _resampler(self) -> av.AudioResampler:
        return av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)

    def _mixed(self, piece: Piece, mixer: Downmix) -> av.AudioFrame:
        """As FFmpeg mixes it where it knows what each channel is; else, and to mono, by energy."""
        layout = _LAYOUTS.get(piece.samples.shape[1], piece.layout)
        samples = piece.samples
        if self.channels == 1 or "channels" in layout or "ambisonic" in layout:
            samples, layout = mixer(samples)[:, None], "mono"
        flat = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(flat, "flt", layout)
        frame.sample_rate = piece.rate  # no timestamp: length is counted in samples
        return frame

    def _cut(self, frames: list[av.AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            samples = np.asarray(frame.to_ndarray(), np.float32)[:, : self._due() - self.made]
            part = samples.clip(-1.0, 1.0)
            self.made += part.shape[1]
            yield part

    def _due(self) -> int:
        return ceil(self.source_s * self.rate)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The sound stream of a local file; what FFmpeg refuses becomes an ``AudioError``."""
    try:
        container = av.open(f"file:{path}", options=_PROTOCOLS, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise AudioUnreadable(
            f"{path} cannot be read as audio ({error.strerror}): use WAV, FLAC, MP3, M4A or Ogg"
        ) from error
    with container:
        stream = _chosen(path, container)
        try:
            yield container, stream
        except av.FFmpegError as error:
            raise AudioUnreadable(
                f"the sound in {path} cannot be used ({error.strerror}): export it as WAV"
            ) from error


def _chosen(path: Path, container: InputContainer) -> AudioStream:
    """The track that a player takes: the one marked as default, else the first."""
    if not container.streams.audio:
        raise AudioUnreadable(f"{path} has no sound in it: use a file with speech")
    # a stream of a codec that FFmpeg does not know has no context
    usable = [s for s in container.streams.audio if s.codec_context is not None and s.rate > 0]
    if not usable:
        raise AudioUnreadable(f"the sound in {path} is of no known kind: export it as WAV")
    marked = [stream for stream in usable if stream.disposition & Disposition.default]
    return (marked or usable)[0]


def _announced_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else the file's length may be another stream's
    return container.duration / av.time_base if alone and container.duration else None
