"""Decodes sound as a player does: a bad packet becomes a moment of silence, not the end.

``Decoder`` gives float pieces without gaps: undecodable packets and gaps between timestamps become
silence of the same length; encoder delay and padding are removed. It counts losses, and refuses a
file that holds no sound or is more broken than whole. It knows nothing of files, target rates or
mixing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from numpy.typing import NDArray

from pipeline.errors import AudioEmpty, AudioNotFinite, AudioUnreadable

GAP_S: Final = 0.05  # timestamps may be off by so much without a gap: containers round them
LONGEST_GAP_S: Final = 600.0  # a longer jump is a clock that was set, not silence
LONGEST_JUMP_S: Final = 10.0  # the same where clocks may start anew (transport streams, chains)
_BACK_S: Final = 1.0  # timestamps that fall back by more have begun anew
LONGEST_DAMAGE_S: Final = 0.5  # of a raw stream: what is longer was never part of it
_AGAIN: Final = 3  # frames in a row after which a raw stream has found itself again
_FAILURES: Final = 100  # reads in a row that may fail before what follows is given up
_TAGS: Final = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # no sound, even amid a raw stream
_RAW: Final = frozenset({"mp3", "aac", "ac3", "eac3"})  # frames in a row, without a clock

Samples = NDArray[np.float32]
_Packets: TypeAlias = "Generator[av.Packet[AudioStream], None, None]"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Sound as it lies in the file: float32 (n, channels)."""

    samples: Samples
    rate: int
    layout: str

    @property
    def seconds(self) -> Fraction:
        """How long it lasts, exactly."""
        return Fraction(len(self.samples), self.rate)

    def silent(self, count: int) -> Piece:
        """So many samples of silence of the same form."""
        zeros = np.zeros((count, self.samples.shape[1]), np.float32)
        return Piece(zeros, self.rate, self.layout)


@dataclass(slots=True)
class _Found:
    """A frame, how many of its samples count, and how much was lost right before it."""

    frame: av.AudioFrame
    count: int
    owed_s: Fraction


class Decoder:
    """Decodes one stream once; ``name`` is what errors call its file."""

    def __init__(self, name: str, container: InputContainer, stream: AudioStream) -> None:
        self.name, self._container, self._stream = name, container, stream
        self.whole_s = Fraction(0)  # decoded
        self.lost_s = Fraction(0)  # of packets that could not be
        self.gaps_s = Fraction(0)  # between timestamps
        self._owed_s = Fraction(0)  # lost since the last frame
        self._due_s: Fraction | None = None  # when the next frame should begin
        self._last: Piece | None = None
        self._read = 0  # bytes of packets that could be decoded
        self._foreign = 0  # bytes amid a raw stream that are none of its frames
        self._formats = set(container.format.name.split(","))
        self._raw = not self._formats.isdisjoint(_RAW)

    def pieces(self) -> Generator[Piece, None, None]:
        """Everything in order. Raises ``AudioUnreadable``, ``AudioEmpty``, ``AudioNotFinite``."""
        convert = _Floats()
        for found in self._trimmed(self._frames()):
            at_s = self.whole_s + self.lost_s + self.gaps_s
            piece = _finite(self.name, convert(found), at_s)
            yield from _silence(self._gap_s(found), self._last or piece)
            self._last = piece
            self.whole_s += piece.seconds
            yield piece
        if self._last is not None and not self._raw:  # behind a raw stream lies garbage
            yield from _silence(self._owed_s, self._last)
        self._judge()

    def problems(self) -> str:
        """What is not in the file, for a person to read; empty if all is."""
        lost = f"{float(self.lost_s):.2f} s cannot be decoded" if self.lost_s else ""
        gaps = f"{float(self.gaps_s):.2f} s are missing between timestamps" if self.gaps_s else ""
        foreign = f"{self._foreign} bytes of it are no sound" if self._foreign else ""
        silent = " and ".join(filter(None, (lost, gaps)))
        return ", ".join(filter(None, (silent and f"{silent}, which become silence", foreign)))

    def _judge(self) -> None:
        lost_s = self.lost_s - (self._owed_s if self._raw else 0)
        if not self.whole_s + self.lost_s:
            raise AudioEmpty(f"audio file {self.name} holds no samples: record or export it again")
        if lost_s > self.whole_s or not self.whole_s:
            raise AudioUnreadable(
                f"audio file {self.name} is damaged: {float(lost_s):.1f} s of it cannot be"
                f" decoded, {float(self.whole_s):.1f} s can: export it again"
            )

    def _frames(self) -> Iterator[_Found]:
        """What can be decoded. Garbage in a raw stream looks like a frame now and then."""
        held: list[_Found] | None = None  # frames since the last failure, not trusted yet
        for packet in self._packets():
            try:
                frames = [self._found(frame) for frame in packet.decode() if frame.samples]
            except av.FFmpegError:
                self._lose(packet)
                held = [] if self._raw else None
                continue
            self._read += packet.size
            if held is not None:
                held += frames
                frames, held = (held, None) if len(held) >= _AGAIN else ([], held)
            yield from frames

    def _found(self, frame: av.AudioFrame) -> _Found:
        owed, self._owed_s = self._owed_s, Fraction(0)
        return _Found(frame, frame.samples, owed)

    def _packets(self) -> Iterator[av.Packet[AudioStream]]:
        """A container goes on being read behind what it could not make out."""
        failures = 0
        while failures < _FAILURES:
            # PyAV leaks a packet for each of its demuxers that is dropped before its end.
            with closing(cast("_Packets", self._container.demux(self._stream))) as packets:
                try:
                    for packet in packets:
                        failures = 0
                        yield packet
                    return
                except av.FFmpegError:
                    failures += 1

    def _lose(self, packet: av.Packet[AudioStream]) -> None:
        if bytes(packet)[:8].startswith(_TAGS):
            return
        seconds = Fraction(0)
        if packet.duration and packet.time_base:
            seconds = packet.duration * packet.time_base
        if self._raw and self._read:  # it may span several frames, and counts as one
            seconds = max(seconds, self.whole_s * packet.size / self._read)
        if self._raw and seconds > LONGEST_DAMAGE_S:
            self._foreign += packet.size
            return
        self.lost_s += seconds
        self._owed_s += seconds

    def _trimmed(self, frames: Iterator[_Found]) -> Iterator[_Found]:
        """The last one shortened where an MP4 states how long it is: the rest is padding."""
        last: _Found | None = None
        for found in frames:
            if last is not None:
                yield last
            last = found
        if last is None:
            return
        frame = last.frame
        if "mp4" in self._formats and frame.duration and frame.time_base:
            stated = round(frame.duration * frame.time_base * frame.sample_rate)
            last.count = min(last.count, max(1, stated))
        yield last

    def _gap_s(self, found: _Found) -> Fraction:
        """How much is missing before a frame: by its timestamp, or by packets that were lost."""
        frame, owed = found.frame, found.owed_s
        length = Fraction(found.count, frame.sample_rate)
        due, self._due_s = self._due_s, None
        if self._raw or frame.pts is None or frame.time_base is None:
            return owed if self.whole_s else Fraction(0)
        at = frame.pts * frame.time_base
        gap = owed if due is None else at - due
        if not -_BACK_S < gap < self._longest_s():  # another clock
            gap, due = owed, None
        gap = gap if gap > (0 if owed else GAP_S) else Fraction(0)
        self._due_s = (at if due is None else due + gap) + length
        self.gaps_s += max(Fraction(0), gap - owed)
        return gap

    def _longest_s(self) -> float:
        restarts = Flags.ts_discont in Flags(self._container.format.flags)
        return LONGEST_JUMP_S if restarts else LONGEST_GAP_S


def _silence(seconds: Fraction, like: Piece) -> Iterator[Piece]:
    """Silence of that length in bounded pieces, in the form of another piece."""
    missing = round(seconds * like.rate)
    while missing > 0:
        count = min(missing, like.rate)
        missing -= count
        yield like.silent(count)


class _Floats:
    """Frames of any format and any number of channels to float32 (n, channels).

    FFmpeg packs the channels: PyAV reads planes beyond the eighth where there is no memory.
    """

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._pack: av.AudioResampler | None = None

    def __call__(self, found: _Found) -> Piece:
        frame = found.frame
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._pack is None or form != self._form:  # some files change format on the way
            self._form, self._pack = form, av.AudioResampler(format="flt")
        rate, layout, channels = frame.sample_rate, frame.layout.name, frame.layout.nb_channels
        packed = [part.to_ndarray().reshape(-1, channels) for part in self._pack.resample(frame)]
        samples = np.concatenate(packed)[: found.count].astype(np.float32, copy=False)
        return Piece(samples, rate, layout)


def _finite(name: str, piece: Piece, at_s: Fraction) -> Piece:
    """Only float formats can hold NaN; a resampler would smear it over its neighbours."""
    bad = ~np.isfinite(piece.samples).all(axis=1)
    if bad.any():
        first = float(at_s) + int(bad.argmax()) / piece.rate
        raise AudioNotFinite(
            f"audio file {name} has a NaN or infinite sample at {first:.3f} s:"
            " repair it or export it again as 16-bit"
        )
    return piece
