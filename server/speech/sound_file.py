"""Sound as it is uploaded: WAV and bare PCM piece by piece, any other file once it is whole."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from io import BytesIO
from typing import Final

import av
import numpy as np

from server.errors import SoundRefused
from server.speech.resampling import LEAST, MOST
from server.speech.utterance import RATE, Pcm

HEADER: Final = 64 * 1024  # bytes in which a WAV's sound has begun
STREAMED: Final = 0x7FFF_0000  # a length from which on its writer did not know it
_PCM, _EXTENSIBLE = 1, 0xFFFE
_FORMATS: Final = "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"


class PcmStream:
    """16-bit little-endian PCM, in pieces that end anywhere, as int16 mono."""

    def __init__(self, rate: int, channels: int = 1) -> None:
        if not LEAST <= rate <= MOST or not 1 <= channels <= 8:
            raise SoundRefused(
                f"PCM has {LEAST} to {MOST} Hz and 1 to 8 channels, not {rate} and {channels}."
            )
        self.rate, self._channels = rate, channels
        self.left: int | None = None  # bytes of sound that are still to come, if that is known
        self._rest = b""

    def __call__(self, data: bytes) -> Pcm:
        """Whole samples; the rest waits for the next piece."""
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        pcm = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels)
        if self._channels == 1:
            return pcm[:, 0].astype(np.int16)
        mono: Pcm = pcm.mean(axis=1).round().astype(np.int16)
        return mono


def wav(head: bytes) -> tuple[PcmStream, bytes] | None:
    """The 16-bit PCM of a WAV, and the sound in ``head`` that follows its header; None where it is
    something else, or where ``head`` ends before the sound begins."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, form = 12, None
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"data":
            if form is not None and 0 < size < STREAMED:
                form.left = size
            return None if form is None else (form, head[at + 8 :])
        if name == b"fmt " and at + 24 <= len(head):
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", head[at + 8 : at + 24])
            if kind not in (_PCM, _EXTENSIBLE) or bits != 16:
                return None
            form = PcmStream(rate, channels)
        at += 8 + size + size % 2
    return None


def pieces(data: bytes) -> Generator[Pcm, None, None]:
    """A sound file as 48 kHz mono, a packet at a time. Raises ``SoundRefused``."""
    options = {"format_whitelist": _FORMATS}
    try:
        with av.open(BytesIO(data), "r", options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise SoundRefused("This file has no sound in it. Send a WAV, FLAC, MP3 or Ogg.")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                frame.pts = None  # length is counted in samples
                yield from _plain(resampler.resample(frame))
            yield from _plain(resampler.resample(None))
    except (av.FFmpegError, ValueError) as failure:
        said = getattr(failure, "strerror", None) or failure
        raise SoundRefused(f"This sound cannot be read ({said}). Send a WAV.") from failure


def _plain(frames: list[av.AudioFrame]) -> Iterator[Pcm]:
    for frame in frames:
        yield frame.to_ndarray()[0].astype(np.int16, copy=False)
