"""Whether a sound file was cut off, as proved by its own header before decoding, and of what.

What is there is read, as players do, and what is missing is said.

Proof is a number of bytes or samples that a header states exactly. A duration derived from a bit
rate (MP3, ADPCM, AMR, raw streams) proves nothing and is not used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.errors import AudioTruncated

_END_SEARCH_S: Final = 1.0
_SLACK_S: Final = 0.3  # the last packets of a whole file may end before what it announces
_UNKNOWN_SIZE: Final = 0x7FFF0000  # recorders that write into a pipe put this or more
_COUNTED: Final = ("flac", "alac", "pcm_", "tta", "wavpack")  # seeking finds their end exactly
_FRAGMENT: Final = (b"moof", b"mdat", b"mfra", b"sidx", b"styp")  # the rest plays without these


class _Part(NamedTuple):
    """One chunk or box of a file: its name, what it says of its size, what there is of it."""

    name: bytes
    size: int
    there: int


def missing_bytes(path: Path) -> str:
    """What a WAV, AIFF or MP4 file announces and lacks; empty when it is whole.

    Raises ``AudioTruncated`` where nothing of the sound is there.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] in (b"WAVE", b""):
            return _of_chunks(path, file, "<")
        elif head[:4] == b"FORM":
            return _of_chunks(path, file, ">")
        if head[4:8] == b"ftyp":
            return _of_boxes(path, file)
    return ""


def missing_end(container: InputContainer, stream: AudioStream, seconds: float) -> str:
    """What lacks at the stated end of codecs whose length is counted, not estimated."""
    if not stream.codec_context.name.startswith(_COUNTED) or container.format.name == "wav":
        return ""
    reached = 0.0
    try:
        container.seek(int(max(0.0, seconds - _END_SEARCH_S) * av.time_base))
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None:
                reached = float((packet.pts + (packet.duration or 0)) * packet.time_base)
    except av.FFmpegError:
        reached = 0.0
    if reached < seconds - _SLACK_S:
        return f"announces {seconds:.1f} s but ends before that"
    return ""


def truncated(path: Path, missing: str) -> AudioTruncated:
    """The refusal of a file that cannot be read without what it lacks."""
    return AudioTruncated(f"audio file {path} {missing}: it was cut off, copy or export it again")


def _of_chunks(path: Path, file: BinaryIO, order: str) -> str:
    """FFmpeg reads a cut WAV or AIFF as a shorter one; its header tells."""
    rate = 0  # bytes of sound in a second
    for part in _chunks(file, path.stat().st_size, order):
        if part.name == b"fmt ":
            rate = struct.unpack_from("<I", file.read(12).ljust(12, b"\0"), 8)[0]
        if part.name in (b"data", b"SSND"):
            missing = 0 if part.size >= _UNKNOWN_SIZE else part.size - part.there
            what = f"announces {part.size} bytes of sound but has {part.there}"
            if missing and not part.there:
                raise truncated(path, what)
            return what if missing > _SLACK_S * rate else ""
    raise truncated(path, "has a header that is not complete")


def _chunks(file: BinaryIO, on_disk: int, order: str) -> Iterator[_Part]:
    """The chunks of a RIFF or FORM file; whoever asks may read in each."""
    at = 12
    while at + 8 <= on_disk:
        file.seek(at)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        yield _Part(name, size, max(0, min(size, on_disk - at - 8)))
        at += 8 + size + size % 2


def _of_boxes(path: Path, file: BinaryIO) -> str:
    """A whole MP4's boxes end with the file; one that was recorded in fragments plays up to one."""
    fragmented = False
    for part in _boxes(file, path.stat().st_size):
        fragmented |= part.name == b"moof"
        if part.there < part.size and not (fragmented and part.name in _FRAGMENT):
            name = part.name.decode("ascii", "replace")
            return f"announces {part.size} bytes of {name} but has {part.there}"
    return ""


def _boxes(file: BinaryIO, on_disk: int) -> Iterator[_Part]:
    at = 0
    while at + 16 <= on_disk:
        file.seek(at)
        size, name, large = struct.unpack(">I4sQ", file.read(16))
        size = large if size == 1 else size or on_disk - at  # 0: up to the end
        if size < 8 or not name.isalnum():  # what follows is no box: a player ignores it
            return
        yield _Part(name, size, min(size, on_disk - at))
        at += size
