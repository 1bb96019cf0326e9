"""Bytes of PCM or of a WAV file, as they arrive, to int16 samples at one rate. Sans I/O."""

from __future__ import annotations

from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
LONGEST_HEADER: Final = 4096  # bytes in which the samples of a WAV file begin
MONO_16_BIT: Final = (1, 1, 16)  # format, channels, bits


class NotPcm(ValueError):
    """A format that cannot be read; the message says which."""


class PcmStream:
    """Raw samples are taken to have ``rate``; a WAV file says its own and is resampled to it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._held = b""
        self._begun = False  # where samples begin is known
        self._converter: av.AudioResampler | None = None
        self._found_rate = rate

    def push(self, data: bytes) -> Pcm:
        """The samples that are whole by now. Raises ``NotPcm``."""
        self._held += data
        if not self._begun and not self._begin():
            return np.zeros(0, np.int16)
        whole = len(self._held) // 2 * 2
        pcm, self._held = np.frombuffer(self._held[:whole], "<i2"), self._held[whole:]
        return pcm if self._converter is None or not whole else self._converted(pcm)

    def flush(self) -> Pcm:
        """What the resampler holds at the end."""
        return np.zeros(0, np.int16) if self._converter is None else self._converted(None)

    def _begin(self) -> bool:
        """Whether the first sample is here; then everything before it is gone."""
        if len(self._held) < 4:
            return False
        if self._held[:4] == b"RIFF":
            begin = self._samples_of_wav()
            if begin is None:
                return False
            self._held = self._held[begin:]
        self._begun = True
        if self._found_rate != self._rate:
            self._converter = av.AudioResampler("s16", "mono", self._rate)
        return True

    def _samples_of_wav(self) -> int | None:
        """Where the ``data`` chunk begins; None until it is here. Its length may be a lie."""
        held, at = self._held, 12
        while at + 8 <= len(held):
            name, size = held[at : at + 4], _number(held, at + 4, 4)
            if name == b"data":
                return at + 8
            if name == b"fmt " and at + 24 <= len(held):
                self._read_format(held[at + 8 : at + 24])
            at += 8 + size + size % 2
        if len(held) > LONGEST_HEADER:
            raise NotPcm("a WAV file without samples")
        return None

    def _read_format(self, fields: bytes) -> None:
        found = (_number(fields, 0, 2), _number(fields, 2, 2), _number(fields, 14, 2))
        self._found_rate = _number(fields, 4, 4)
        if found != MONO_16_BIT or not 8000 <= self._found_rate <= 192_000:
            raise NotPcm(
                f"a WAV file of format {found[0]} with {found[1]} channels of {found[2]} bits at"
                f" {self._found_rate} Hz; PCM with 1 channel of 16 bits can be read"
            )

    def _converted(self, pcm: Pcm | None) -> Pcm:
        assert self._converter is not None
        frame = None
        if pcm is not None:
            frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
            frame.sample_rate = self._found_rate
        parts = [made.to_ndarray()[0] for made in self._converter.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
